#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "core/analysis/attention_capture.h"
#include "core/analysis/experiment_settings.h"
#include "core/analysis/experiment_texts.h"
#include "core/analysis/phi.h"

namespace savepoint {

// What is kept of one text after its forward pass; the state is read after its last token.
struct TextRun {
    at::Tensor key, value;            // [tokens, layers, kv_heads, head_dim]
    at::Tensor query, mean_query;     // [layers, heads, head_dim]: of the last token, and the mean over tokens
    at::Tensor hidden, mean_hidden;   // [layers, d_model]: blocks.L.hook_resid_post, likewise
    double mean_log_probability = 0;  // nats a token, from the second on
    int64_t tokens = 0;
};
// Of texts of one length, as one batch.
std::vector<TextRun> run_texts(AttentionCapture& capture, const std::vector<std::vector<TokenId>>& batch);

// Feature tables [texts, layers, width] float32 of a form of the state under phi. Matrix forms go through at most 16
// components per layer and KV head, fitted on the rows of Part::fit that are normal, and the norm of the residual;
// layers that are not asked for are left 0.
struct FormTable {
    at::Tensor values;
    int64_t masked = 0;
};
FormTable form_table(const std::vector<TextRun>& runs, const std::vector<bool>& reference,
                     const std::shared_ptr<const Phi>& phi, StateForm form, const std::vector<int64_t>& layers);

}  // namespace savepoint
