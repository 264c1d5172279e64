#include "core/analysis/experiment_run.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "core/analysis/matrix_components.h"
#include "core/analysis/phi_state.h"
#include "core/analysis/state_forms.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

// Of every token from the second on, under the logits before it; nats.
std::vector<double> log_probabilities(const at::Tensor& logits, const std::vector<TokenId>& ids) {
    const auto n = static_cast<int64_t>(ids.size());
    if (n < 2) return {};
    at::Tensor next = at::empty({n - 1, 1}, at::kLong);
    for (int64_t i = 1; i < n; ++i) next.data_ptr<int64_t>()[i - 1] = ids[static_cast<size_t>(i)];
    const at::Tensor rows = logits.reshape({n, -1}).slice(0, 0, n - 1).to(at::kCPU);
    const at::Tensor found = (rows.gather(1, next).squeeze(1) - rows.logsumexp(1)).to(at::kDouble).contiguous();
    return {found.const_data_ptr<double>(), found.const_data_ptr<double>() + n - 1};
}

// A text's first `end` tokens. attention, hidden [tokens, layers, d_model] and log_probability are of all of it.
TextRun run_of(const AttentionRun& attention, const at::Tensor& hidden, const std::vector<double>& log_probability,
               int64_t end, int64_t layer) {
    TextRun run;
    run.tokens = end;
    run.key = attention.key.slice(0, 0, end);
    run.value = attention.value.slice(0, 0, end);
    const at::Tensor query = attention.query.slice(0, 0, end), rows = hidden.slice(0, 0, end);
    run.query = query[end - 1].clone();
    run.mean_query = query.mean(0);
    run.hidden = rows[end - 1].clone();
    run.mean_hidden = rows.mean(0);
    const std::vector<double> before(log_probability.begin(), log_probability.begin() + std::max<int64_t>(end - 1, 0));
    if (!before.empty())
        run.mean_log_probability =
            std::accumulate(before.begin(), before.end(), 0.0) / static_cast<double>(before.size());
    if (layer < 0) return run;
    run.layer_query = query.select(1, layer).clone();
    run.layer_hidden = rows.select(1, layer).clone();
    run.log_probability = before;
    return run;
}

at::Tensor indices(const std::vector<bool>& which) {
    std::vector<int64_t> list;
    for (size_t i = 0; i < which.size(); ++i)
        if (which[i]) list.push_back(static_cast<int64_t>(i));
    return at::tensor(list, at::kLong);
}

FormValues values_of(const TextRun& run, const std::shared_ptr<const Phi>& phi, StateForm form) {
    PhiState state;
    state.phi = phi;
    state.add(run.key, run.value);
    return form_values(form, state, form == StateForm::mean_query ? run.mean_query : run.query);
}

FormTable matrix_table(const std::vector<TextRun>& runs, const std::vector<bool>& reference, const Phi& phi,
                       StateForm form, const std::vector<int64_t>& layers) {
    const at::Tensor fitted = indices(reference);
    if (fitted.numel() < 2) throw InputError("experiment: at least two normal training texts are needed");
    FormTable table;
    for (const int64_t layer : layers) {
        const auto one = std::make_shared<const Phi>(phi.of_layer(layer));
        std::vector<at::Tensor> rows;  // [kv_heads, features x head_dim] each
        for (const TextRun& run : runs) {
            TextRun slice;
            slice.key = run.key.slice(1, layer, layer + 1);
            slice.value = run.value.slice(1, layer, layer + 1);
            slice.tokens = run.tokens;
            const FormValues values = values_of(slice, one, form);
            rows.push_back(values.values[0]);
            table.masked += values.masked;
        }
        const at::Tensor all = at::stack(rows);  // [texts, kv_heads, features x head_dim]
        const at::Tensor precise = all.to(at::kDouble);
        const MatrixComponents components = fit_components(precise.index_select(0, fitted));
        const at::Tensor width = reduced(components, precise).to(at::kFloat).flatten(1);
        if (!table.values.defined())
            table.values = at::zeros({width.size(0), runs.front().key.size(1), width.size(1)}, at::kFloat);
        table.values.select(1, layer).copy_(width);
    }
    return table;
}

}  // namespace

std::vector<TextRun> run_texts(AttentionCapture& capture, const std::vector<std::vector<TokenId>>& batch) {
    std::vector<TextRun> runs;
    for (std::vector<TextRun>& text : run_beginnings(capture, batch, {static_cast<int64_t>(batch.front().size())}, -1))
        runs.push_back(std::move(text.front()));
    return runs;
}

std::vector<std::vector<TextRun>> run_beginnings(AttentionCapture& capture,
                                                 const std::vector<std::vector<TokenId>>& batch,
                                                 const std::vector<int64_t>& ends, int64_t layer) {
    ForwardOptions options;
    options.logits = Logits::all;
    const std::vector<AttentionRun> attention = capture.run(batch, options);
    const auto tokens = static_cast<int64_t>(batch.front().size()), count = static_cast<int64_t>(batch.size());
    const at::Tensor hidden = capture.output().rows.hidden;  // [count x tokens, layers, d_model]
    const at::Tensor logits = capture.output().logits.reshape({count, tokens, -1});
    std::vector<std::vector<TextRun>> runs;
    for (int64_t i = 0; i < count; ++i) {
        AttentionRun one = attention[static_cast<size_t>(i)];
        one.key = one.key.clone();  // a view would keep the whole batch alive
        one.value = one.value.clone();
        const at::Tensor rows = hidden.slice(0, i * tokens, (i + 1) * tokens);
        const std::vector<double> said = log_probabilities(logits[i], batch[static_cast<size_t>(i)]);
        runs.emplace_back();
        for (const int64_t end : ends) runs.back().push_back(run_of(one, rows, said, end, layer));
    }
    return runs;
}

FormTable form_table(const std::vector<TextRun>& runs, const std::vector<bool>& reference,
                     const std::shared_ptr<const Phi>& phi, StateForm form, const std::vector<int64_t>& layers) {
    if (runs.empty()) throw InputError("experiment: there are no texts");
    if (is_matrix(form)) return matrix_table(runs, reference, *phi, form, layers);
    FormTable table;
    std::vector<at::Tensor> rows;
    for (const TextRun& run : runs) {
        const FormValues values = values_of(run, phi, form);
        rows.push_back(values.values.flatten(1));
        table.masked += values.masked;
    }
    table.values = at::stack(rows);
    return table;
}

}  // namespace savepoint
