#include "core/analysis/form_stream.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "core/analysis/state_forms.h"
#include "core/model/error.h"

namespace savepoint {

FormShape form_shape(StateForm form, const Phi& phi, const ModelConfig& config) {
    switch (form) {
        case StateForm::read_out:
        case StateForm::mean_query:
            return {config.heads, config.head_dim};
        case StateForm::rows:
        case StateForm::mean:
            return {config.kv_heads, kMatrixComponents + 1};
        case StateForm::singular_values:
            return {config.kv_heads, std::min(phi.features(), config.head_dim)};
        case StateForm::singular_vectors:
            return {config.kv_heads, phi.features() + config.head_dim};
    }
    throw InputError("form: unknown");
}

FormStream::FormStream(std::shared_ptr<const Phi> phi, StateForm form,
                       std::shared_ptr<const MatrixComponents> components)
    : form_(form), components_(std::move(components)) {
    state_.phi = std::move(phi);
}

at::Tensor FormStream::mean_queries(const at::Tensor& queries) {
    const at::Tensor sums = queries.to(at::kCPU, at::kDouble).cumsum(0);
    const at::Tensor all = query_sum_.defined() ? sums + query_sum_ : sums;
    if (all.size(0) > 0) query_sum_ = all[all.size(0) - 1].clone();
    const at::Tensor seen = at::arange(tokens() + 1, tokens() + all.size(0) + 1, at::kDouble).view({-1, 1, 1, 1});
    return (all / seen).to(at::kFloat);
}

FormRows FormStream::read_outs(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    const at::Tensor asked = form_ == StateForm::mean_query ? mean_queries(queries) : queries;
    const PhiReadOut read = read_on(state_, asked, keys, values);
    return {read.values, read.masked};
}

FormRows FormStream::next(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    std::vector<int64_t> all(static_cast<size_t>(keys.size(0)));
    std::iota(all.begin(), all.end(), 0);
    return next(queries, keys, values, all);
}

FormRows FormStream::next(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                          const std::vector<int64_t>& wanted) {
    const auto count = keys.size(0);
    if (is_read_out(form_)) {
        const FormRows all = read_outs(queries, keys, values);
        if (static_cast<int64_t>(wanted.size()) == count) return all;
        const at::Tensor which = at::tensor(wanted, at::kLong);
        return {all.values.index_select(0, which), all.masked.index_select(0, which)};
    }
    std::vector<at::Tensor> rows;
    std::vector<int64_t> masked;
    int64_t next = 0;
    for (const int64_t token : wanted) {
        state_.add(keys.slice(0, next, token + 1), values.slice(0, next, token + 1));
        next = token + 1;
        const FormValues form = form_values(form_, state_);
        const at::Tensor one = form.values.flatten(0, 1).unsqueeze(0);  // [1, layers * kv_heads, width]
        rows.push_back(components_ ? reduced(*components_, one) : one);
        masked.push_back(form.masked);
    }
    state_.add(keys.slice(0, next), values.slice(0, next));
    const int64_t layers = keys.size(1), kv_heads = keys.size(2);
    if (rows.empty()) return {at::empty({0, layers, kv_heads, 0}, at::kFloat), at::empty({0}, at::kLong)};
    const at::Tensor all = at::cat(rows);
    return {all.view({all.size(0), layers, kv_heads, all.size(2)}), at::tensor(masked, at::kLong)};
}

void FormStream::skip(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    if (!skips_queries()) mean_queries(queries);
    state_.add(keys, values);
}

}  // namespace savepoint
