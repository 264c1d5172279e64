#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "core/sidecar/learned_settings.h"
#include "core/sidecar/product_quantizer.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

// Named parameters. Ordered, so that an optimizer's state and a file list them alike.
using Parameters = std::map<std::string, at::Tensor>;

// The networks of a learned codec, all of them residual: with zeros in their last matrices they change nothing, so that
// training begins at the transform. c are a group's coefficients [batch, tokens, components], in units of a step; they
// differ in size by orders of magnitude, so networks see them over their deviation d, and what they add is in units of
// it, or of half a step where that is less: an error of rounding is no larger.
//
//   context   u = f(W [e(x_t); below_t; before_t]), f: the mixing over tokens, then silu-gated feed-forward
//             n = d U u, what is expected of c; the same u goes to the decoder
//             and V u, how much wider than its component's log spread z is expected to be (prior = context)
//   encoder   c + min(d, r/2) B silu(A c/d + a),        then times exp(s): the learned step per component
//   decoder   v + min(d, r/2) (B silu(A v/d + a) + C u)
// Without corrections, encoder, decoder and s stay as they begin: the networks say what z will be, and nothing of what
// it stands for.
//
// r are the steps of the tokens [batch, tokens, 1], 1 where they are not given (token_importance.h); every network is
// told: a = log2(r) times a learned row.
//
// Attention is causal with the slopes of ALiBi (Press et al. 2022, arXiv 2108.12409) instead of positions, so that a
// run may be longer than those it was trained on. One network for all groups (unified) adds an embedding of the group,
// and its decoder attends over the groups of a token.
class LatentNetwork {
   public:
    // Sizes that the networks of all groups have in common.
    struct Shape {
        int64_t context = 0;                // numbers a token that the context network reads; 0: there is none
        std::vector<at::Tensor> deviation;  // by group: d of each component [components], in steps
        int64_t components(size_t group) const { return deviation[group].size(0); }
    };
    LatentNetwork(LearnedSettings settings, Shape shape, uint64_t seed);

    struct Context {
        at::Tensor hidden;      // [batch, tokens, width]; undefined without a context
        at::Tensor expected;    // [batch, tokens, components]
        at::Tensor log_spread;  // likewise: what is added to log_spread(); undefined where the prior is fixed
    };
    // seen [batch, tokens, context]; r may be undefined, here and below.
    Context context(size_t group, const at::Tensor& seen, const at::Tensor& r) const;
    at::Tensor encoded(size_t group, const at::Tensor& c, const at::Tensor& r) const;  // steps scaled by scale()
    at::Tensor decoded(size_t group, const at::Tensor& v, const at::Tensor& hidden, const at::Tensor& r) const;
    // unified: of all groups
    std::vector<at::Tensor> decoded_together(const std::vector<at::Tensor>& v, const std::vector<at::Tensor>& r) const;
    at::Tensor scale(size_t group) const;       // [components], exp(s)
    at::Tensor log_spread(size_t group) const;  // [components]: of the logistic prior in training, log
    bool in_words() const { return settings_.quantizer == "vq"; }
    ProductCodes codes(size_t group) const;  // in_words(): what learn() changes is the network's own

    void to(const c10::Device& device);  // parameters, as leaves without gradients, and deviations

    Parameters& parameters() { return parameters_; }
    const Parameters& parameters() const { return parameters_; }
    const LearnedSettings& settings() const { return settings_; }
    const std::vector<at::Tensor>& deviation() const { return shape_.deviation; }
    bool unified() const { return settings_.architecture == "unified"; }

    void save(TensorFile& file) const;      // float16
    void load(const TensorFields& fields);  // throws FileError

   private:
    std::string of(size_t group, const char* role) const;
    const at::Tensor& weight(size_t group, const char* role) const { return parameters_.at(of(group, role)); }
    void add(const std::string& name, std::vector<int64_t> sizes, double spread);
    at::Tensor mixed(size_t group, const at::Tensor& x) const;
    at::Tensor seen(size_t group, const at::Tensor& c, const std::string& role, const at::Tensor& r) const;
    at::Tensor told(size_t group, const std::string& role, const at::Tensor& r) const;
    at::Tensor correction(size_t group, const at::Tensor& r) const;
    // One network for groups of different size: what one lacks is zeros.
    int64_t widest() const;
    at::Tensor padded(const at::Tensor& c) const;
    at::Tensor cut(size_t group, const at::Tensor& c) const;
    at::Tensor attended(size_t group, const at::Tensor& x, const char* role, bool causal) const;

    LearnedSettings settings_;
    Shape shape_;
    uint64_t seed_;
    Parameters parameters_;
};

}  // namespace savepoint
