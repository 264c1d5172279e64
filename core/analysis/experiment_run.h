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
    // Token by token at one layer, where that was asked for: [tokens, heads, head_dim], [tokens, d_model], and the
    // log-probability of each token from the second on, nats.
    at::Tensor layer_query, layer_hidden;
    std::vector<double> log_probability;
};
// Of texts of one length, as one batch.
std::vector<TextRun> run_texts(AttentionCapture& capture, const std::vector<std::vector<TokenId>>& batch);
// The same, and of their beginnings: [text][end], `ends` token counts that end with the whole length. What later tokens
// are changes nothing in a causal model. layer -1: nothing token by token.
std::vector<std::vector<TextRun>> run_beginnings(AttentionCapture& capture,
                                                 const std::vector<std::vector<TokenId>>& batch,
                                                 const std::vector<int64_t>& ends, int64_t layer);

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
