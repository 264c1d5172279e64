#include "core/analysis/state_forms.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "core/model/error.h"

namespace savepoint {

namespace {

const std::array<std::pair<StateForm, const char*>, 6> kNames{{{StateForm::read_out, "read_out"},
                                                               {StateForm::mean_query, "mean_query"},
                                                               {StateForm::rows, "rows"},
                                                               {StateForm::mean, "mean"},
                                                               {StateForm::singular_values, "singular_values"},
                                                               {StateForm::singular_vectors, "singular_vectors"}}};

// numerator / denominator, 0 and counted where |denominator| is below the fraction of `absolute`.
FormValues quotient(const at::Tensor& numerator, const at::Tensor& denominator, const at::Tensor& absolute) {
    const at::Tensor lost = denominator.abs() <= absolute * kLeastDenominator;
    const at::Tensor safe = at::where(lost, at::ones_like(denominator), denominator);
    return {at::where(lost, at::zeros_like(numerator), numerator / safe), lost.sum().item<int64_t>()};
}

at::Tensor mean_state(const PhiState& state) {
    return state.s / state.weight.clamp_min(1e-30).unsqueeze(-1).unsqueeze(-1);
}

FormValues read(const PhiState& state, const at::Tensor& query) {
    const int64_t layers = state.s.size(0), kv_heads = state.s.size(1), dim = state.s.size(3);
    if (!query.defined() || query.dim() != 3 || query.size(0) != layers || query.size(1) % kv_heads != 0 ||
        query.size(2) != dim)
        throw InputError("linear attention: the read-out needs queries [layers, heads, head_dim]");
    const at::Tensor q = state.phi->queries(query.to(at::kFloat).unsqueeze(0))
                             .reshape({layers * kv_heads, query.size(1) / kv_heads, -1});
    const auto sets = [&](const at::Tensor& x) { return x.reshape({layers * kv_heads, q.size(2), -1}); };
    const at::Tensor mixed = at::bmm(q, sets(state.s));
    FormValues out;
    if (state.phi->is_signed())
        out = {mixed / state.weight.clamp_min(1e-30).view({-1, 1, 1}), 0};
    else
        out = quotient(mixed, at::bmm(q, sets(state.n)), at::zeros({1}));
    out.values = out.values.reshape(query.sizes());
    return out;
}

}  // namespace

std::string to_string(StateForm form) {
    for (const auto& [one, name] : kNames)
        if (one == form) return name;
    return "?";
}

StateForm form_from(const std::string& name) {
    std::string known;
    for (const auto& [form, one] : kNames) {
        if (name == one) return form;
        known += (known.empty() ? "" : ", ") + std::string(one);
    }
    throw InputError("form: \"" + name + "\" is none of " + known);
}

const std::vector<StateForm>& all_forms() {
    static const std::vector<StateForm> all = [] {
        std::vector<StateForm> forms;
        for (const auto& entry : kNames) forms.push_back(entry.first);
        return forms;
    }();
    return all;
}

FormValues form_values(StateForm form, const PhiState& state, const at::Tensor& query) {
    if (!state.s.defined()) throw InputError("linear attention: the state is empty");
    switch (form) {
        case StateForm::read_out:
        case StateForm::mean_query:
            return read(state, query);
        case StateForm::rows: {
            FormValues out = quotient(state.s, state.n.unsqueeze(-1), state.absolute.unsqueeze(-1));
            out.values = out.values.flatten(2);
            return out;
        }
        case StateForm::mean:
            return {mean_state(state).flatten(2), 0};
        case StateForm::singular_values:
            return {at::linalg_svdvals(mean_state(state)), 0};
        case StateForm::singular_vectors: {
            const auto [u, s, vh] = at::linalg_svd(mean_state(state), false);
            const at::Tensor left = u.select(3, 0), right = vh.select(2, 0);
            const at::Tensor largest = right.gather(2, right.abs().argmax(2, true));
            const at::Tensor sign = at::where(largest < 0, -1.0f, 1.0f);
            return {at::cat({left * sign, right * sign}, 2), 0};
        }
    }
    throw InputError("form: unknown");
}

}  // namespace savepoint
