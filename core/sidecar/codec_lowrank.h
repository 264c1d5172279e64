#pragma once

#include "core/model/weights.h"
#include "core/sidecar/run_planes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// Low rank of the weights that make keys and values (LoRC, arXiv 2410.03111): no text is needed to fit it. Keys are
// K = W x with W = U S V^T [kv_dim, d_model], all heads of a layer stacked, x the normed input of the layer; of it
// the leading r coordinates z = V_r^T x = S_r^-1 U_r^T K are kept, and K^ = U_r S_r z. Values likewise. Where the model
// norms each head's key, W is diag(norm) W: what is left is one factor a token and head, which z takes.
// Bytes: keys, then values; of each, layer after layer, z as rows of r numbers for every token (stored_values.h).
struct LowRankSettings {
    int64_t max_rank = 96, min_rank = 48;  // of the first and of the last layers: see lowrank_ranks()
    ValueFormat format;
};

// The paper's progressive strategy: an error of an early layer passes through all layers above it, so the rank follows
// the cumulative condition number c_l = product over j >= l of cond(W_k^j) cond(W_v^j):
//   r_l = max_rank (1 - (max log c - log c_l) / (max log c - min log c) (1 - min_rank / max_rank)), rounded.
// log_conditions: log(cond(W_k) cond(W_v)) of each layer.
std::vector<int64_t> lowrank_ranks(const std::vector<double>& log_conditions, int64_t max_rank, int64_t min_rank);

// One codec for each settings. key_weights, value_weights: [kv_dim, d_model] float32 of every layer. Throws InputError
// on ranks that cannot be.
std::vector<std::shared_ptr<const RunCodec>> make_lowrank(const ModelConfig& config,
                                                          const std::vector<at::Tensor>& key_weights,
                                                          const std::vector<at::Tensor>& value_weights,
                                                          const std::vector<LowRankSettings>& settings);
std::vector<std::shared_ptr<const RunCodec>> make_lowrank(const Weights& weights,
                                                          const std::vector<LowRankSettings>& settings);
std::shared_ptr<const RunCodec> load_lowrank(const TensorFile& file, const nlohmann::json& settings,
                                             const std::string& name);  // throws FileError

}  // namespace savepoint
