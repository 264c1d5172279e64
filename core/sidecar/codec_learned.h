#pragma once

#include <memory>
#include <vector>

#include "core/sidecar/codec_transform.h"
#include "core/sidecar/latent_network.h"

namespace savepoint {

// A transform codec with trained networks around it (latent_network.h). Of a group, from the bottom up, with what was
// decoded below it as its context:
//   c = U L (x - mean - A (context - its mean)) / unit      the transform's coefficients
//   z = round(encoder(c - n) exp(s) / (r step))             n: what the context network expects
//   c^ = decoder(r step exp(-s) z + n)                      and back to x by the transform
// Rounding is to a uniform grid, as the transform rounds, or to the words of product codebooks (product_quantizer.h).
// r: the token's own steps, where the transform has them (token_importance.h), else 1.
// `unit` is the step that the networks were trained at; `step`, in units of it, is free, so that one training gives
// codecs of neighbouring rates. Entropy-coded like the transform's coefficients; with prior = context, the context
// network also foretells how wide each value of z will be, in whole quarter octaves (agreed_integers.h).
// Causal; the rows of a token depend on all tokens of the run before it (attention, recurrent) or on `window` of them.
class LearnedCodec final : public RunCodec {
   public:
    struct Parts {
        std::shared_ptr<const TransformCodec> transform;
        std::shared_ptr<const LatentNetwork> network;
        std::vector<at::Tensor> deviation;     // by group: of its features, [width of the group]
        std::vector<CoefficientCoder> coders;  // by group; none before they are fitted
        std::vector<WordCoder> word_coders;    // in their place, where the network quantises in words
        double step = 1;
        std::string name;
    };
    explicit LearnedCodec(Parts parts) : parts_(std::move(parts)) {}

    std::string kind() const override { return "learned"; }
    std::string name() const override { return parts_.name; }
    CodedPart part() const override { return parts_.transform->part(); }
    std::string encode(const CodedRun& run) const override;
    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t first_position) const override;
    void save(TensorFile& file, nlohmann::json& settings) const override;
    const Parts& parts() const { return parts_; }

    // z of a run, per group [tokens, components]: before rounding and rounded (in words: which, [tokens, runs]).
    struct Latent {
        std::vector<at::Tensor> exact, rounded;
        at::Tensor coarser;  // as of TransformCodec::Latent
        // How many quarter octaves wider than its component each value was expected to be, before rounding; where the
        // prior is fixed, there is none.
        std::vector<at::Tensor> wider;
        at::Tensor coarser_of(size_t group) const { return token_coarser(coarser, group); }
        CoefficientCoder::Context context_of(size_t group) const;
    };
    Latent quantise(const CodedRun& run) const;
    double bits(const Latent& latent) const;  // as the entropy coders would write it
    std::string coded(const Latent& latent, size_t group) const;
    // The same networks at another step, with entropy coders fitted to what that step makes of `sample`.
    std::shared_ptr<const LearnedCodec> at_step(double step, std::string name, std::span<const CodedRun> sample) const;

   private:
    class Walk;
    class ZReader;
    bool foretold() const;  // whether there are widths of values that are sent beside z
    Parts parts_;
};

// What the context network of a group sees, [rows, ..] side by side: the token's embedding, the features decoded below,
// and its own of the token before (the last two at unit deviation, bounded); undefined ones are left out, and a first
// group sees zeros below it.
at::Tensor learned_context(const LearnedCodec::Parts& parts, size_t group, const at::Tensor& embeddings,
                           const at::Tensor& below, const at::Tensor& before);
int64_t learned_context_size(const LearnedSettings& settings, const BlockFeatures& features);

// Throws FileError when the parts do not fit together or are of another model's shape.
std::shared_ptr<const LearnedCodec> load_learned(const TensorFile& file, const nlohmann::json& settings,
                                                 const std::string& name, std::shared_ptr<const Weights> weights);

}  // namespace savepoint
