#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

// Reconstruction of a run of tokens. FVU: fraction of variance unexplained, sum (x - x^)^2 / sum (x - mean)^2,
// per layer, the mean taken over the tokens given (tokens >= first_tokens only; the first ones apart). Row 0 is the
// path's first token; first_tokens is the sidecar's exact_first_tokens. float64. A part that was not kept is undefined;
// where nothing varies (one token) an FVU is NaN or infinite.
struct ReconstructionError {
    int64_t tokens = 0, first_tokens = 4;
    at::Tensor hidden_mse;          // [layers]
    at::Tensor hidden_fvu;          // [layers], without the first tokens
    at::Tensor hidden_fvu_first;    // [layers], the first tokens alone (about the mean of all tokens); NaN when none
    at::Tensor key_mse, value_mse;  // [layers, kv_heads]
    at::Tensor key_fvu, value_fvu;  // [layers, kv_heads]
    at::Tensor token_fvu;           // [tokens], over all layers: ||h - h^||^2 / ||h - mean||^2
};
// ids: of the rows; without them nothing is said of the keys and values of a joint sidecar.
ReconstructionError reconstruction_error(const Sidecar& sidecar, const StateRows& rows,
                                         std::span<const TokenId> ids = {});

// The smallest value that at least 95 of 100 do not exceed (nearest rank); NaN of none.
double percentile_95(std::vector<double> values);

// What resuming from decode(z) does: the first `prefix` tokens' K/V are decoded (the first exact ones kept),
// the following tokens are fed through the model on top of it, teacher forced, beside the exact run.
struct ResumeFidelity {
    int64_t prefix = 0, tokens = 0;
    double kl_nats = 0;  // mean KL(exact || resumed) of the next-token distribution
    double kl_p95 = 0;
    double top1_agreement = 0;  // fraction
    double delta_nll = 0;       // nats per token
};
ResumeFidelity resume_fidelity(const Transformer& model, const Sidecar& sidecar, const std::vector<TokenId>& tokens,
                               int64_t prefix, const std::function<bool(double)>& keep_going = {});
// The same beside an exact run that is at hand: the rows of all tokens.
ResumeFidelity resume_fidelity(const Transformer& model, const Sidecar& sidecar, const std::vector<TokenId>& tokens,
                               int64_t prefix, const StateRows& exact);

}  // namespace savepoint
