#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec_learned.h"
#include "core/sidecar/latent_regularizer.h"

namespace savepoint {

// Sequences of one length that the model was run on.
struct TrainingBatch {
    std::vector<std::vector<TokenId>> ids;  // whole sequences
    StateRows rows;                         // of their prefixes, one after another
    at::Tensor coarser;                     // of the tokens that are coded, likewise (TransformCodec::Latent)
};

// What a pass over a batch cost, per token; kl is NaN where it was not asked for.
struct PassCost {
    double loss = 0, distortion = 0, bits = 0, kl = 0;
    std::vector<double> group_bits;
};

// The gradient of a learned codec's loss, and the optimizer's state (AdamW, Loshchilov & Hutter 2019). z is rounded or
// sampled, and R(z) taken, as latent_regularizer.h says. What is decoded below and before is a given to the groups
// above.
class NetworkTrainer {
   public:
    // On the model's device, to which the network is moved.
    NetworkTrainer(const Transformer& model, LearnedCodec::Parts parts, std::shared_ptr<LatentNetwork> network,
                   const TrainingSettings& settings);

    // Adds the gradient of the mean loss. groups: how many, from the lowest. own_share: of the tokens, those whose
    // network sees the token before as it was decoded, not as it was (recurrent).
    PassCost add_gradient(const TrainingBatch& batch, size_t groups, bool with_kl, double own_share,
                          uint64_t noise_seed);
    void step(double learning_rate);                  // clips, moves the parameters, clears the gradient
    double words_used() const;                        // TrainingPoint's
    PassCost look(const TrainingBatch& batch) const;  // the same loss without gradients, z rounded; always with KL
    // What a nat of KL weighs in the loss, in squared steps. 0 until it is set.
    double kl_scale() const { return kl_scale_; }
    void set_kl_scale(double scale) { kl_scale_ = static_cast<float>(scale); }  // as a checkpoint keeps it

    // Of the optimizer and the networks, by name: for checkpoints.
    void save(TensorFile& file) const;
    void load(const TensorFields& fields);  // throws FileError

    Parameters snapshot() const;  // copies of the parameters
    void restore(const Parameters& parameters);
    // The networks as a file holds them, without gradients.
    std::shared_ptr<const LatentNetwork> as_stored() const;

   private:
    struct Coded;
    struct Pass;
    using Decode = std::function<at::Tensor(const at::Tensor& features_before)>;
    at::Tensor features_before(const at::Tensor& exact, double own_share, at::Generator* noise,
                               const Decode& decode) const;
    Pass pass(const TrainingBatch& batch, size_t groups, bool with_kl, double own_share, at::Generator* noise) const;
    Coded code(size_t group, const at::Tensor& c, const LatentNetwork::Context& context, const at::Tensor& steps,
               at::Generator* noise) const;
    RegularizedLatent in_words(size_t group, const at::Tensor& z, at::Generator* noise) const;
    at::Tensor divergence(const TrainingBatch& batch, const std::vector<at::Tensor>& blocks) const;

    const Transformer& model_;
    c10::Device device_;
    LearnedCodec::Parts parts_;
    std::shared_ptr<LatentNetwork> network_;
    TrainingSettings settings_;
    Parameters first_moments_, second_moments_;
    double steps_ = 0, kl_scale_ = 0;
    int64_t gradients_ = 0;
};

}  // namespace savepoint
