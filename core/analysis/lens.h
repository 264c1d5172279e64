#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/analysis/drift_parts.h"
#include "core/analysis/lens_map.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"

namespace savepoint {

// The tuned lens (Belrose et al. 2023, arXiv 2303.08112): an affine map a layer, from the layer's residual stream to
// what the last layer would make of it. Here fitted in closed form: with x and y the states of layer L and of the last
// one, each over its root mean square, y ~ x + x D + b, by least squares with a ridge on D, which draws it to the logit
// lens.
class TunedLens {
   public:
    // [.., d_model] resid_post of `layer` -> [.., d_model] to be unembedded.
    at::Tensor apply(const at::Tensor& resid, int64_t layer) const;
    int64_t layers() const { return bias_.size(0); }
    const LensFigures& figures() const { return figures_; }

    // One safetensors file. load throws FileError when it is damaged or of another model.
    void save(const std::string& path, const std::string& model_sha256) const;
    static std::shared_ptr<const TunedLens> load(const std::string& path, const ModelConfig& config,
                                                 const std::string& model_sha256);

   private:
    friend class TunedLensFit;
    at::Tensor weight_, bias_;  // [layers, d_model, d_model] I + D, applied as x W; [layers, d_model]
    LensFigures figures_;
};

// Fits it in short steps: a forward pass, a layer's equations, or a piece of the judgement on held-out text.
class TunedLensFit {
   public:
    // Sequences of one length; their first four tokens (attention sinks) are left out. It is judged on every
    // `judged_every`-th token of the held-out ones, each of which costs two unembeddings a layer. Throws InputError
    // when there are fewer tokens to fit on than the model has dimensions, or none held out.
    TunedLensFit(const Transformer& model, std::vector<std::vector<TokenId>> fit,
                 std::vector<std::vector<TokenId>> held_out, int64_t judged_every = 1, double ridge = 1e-3);
    bool step();  // false: done
    double progress() const;
    std::string stage() const;
    std::shared_ptr<const TunedLens> result() const;

   private:
    void add(const std::vector<TokenId>& sequence);
    void keep(const std::vector<TokenId>& sequence);
    void solve(int64_t layer);
    void judge(int64_t piece, int64_t layer);
    // [.., vocab]: as unembed, for many rows at once, and where the processor can and it is not asked for exactly, by
    // products in bfloat16, which move a KL by a thousandth of a nat.
    at::Tensor quick_logits(const at::Tensor& resid, bool exact);
    int64_t pieces() const;  // of the tokens that it is judged on

    const Transformer& model_;
    std::vector<std::vector<TokenId>> fit_, held_out_;
    int64_t judged_every_;
    double ridge_;
    size_t next_fit_ = 0, next_held_out_ = 0;
    int64_t next_layer_ = 0, next_judged_ = 0, tokens_ = 0;
    at::Tensor squares_, products_;  // float64 [layers, d + 1, d + 1], [layers, d + 1, d]: x^T x, x^T (y - x)
    std::vector<at::Tensor> kept_;   // [tokens, layers, d] of held-out text
    at::Tensor final_;               // the model's own next-token probabilities, [tokens of a piece, vocab]
    at::Tensor final_entropy_;       // nats, [tokens of a piece]
    at::Tensor short_head_;          // in bfloat16, where the processor multiplies it
    std::vector<double> sum_logit_, sum_tuned_;  // [layers] of KL, nats
    std::shared_ptr<TunedLens> lens_ = std::make_shared<TunedLens>();
};

// Text for it: ordinary text and chat of the given corpus, as sidecars are fitted on.
struct LensText {
    std::vector<std::vector<TokenId>> fit, held_out;
};
LensText lens_text(const Tokenizer& tokenizer, int64_t fit_tokens = 8192, int64_t held_out_tokens = 1152);

// Reads a run through a lens, some tokens a step.
class Lens {
   public:
    // `seen`: the states to look at, [tokens, layers, d_model]: the run's own or decoded ones. tuned null: the logit
    // lens. target, distractor -1: none. Throws InputError on shapes of another model and on tokens that are not there.
    Lens(const Transformer& model, const StateRun& run, at::Tensor seen, std::shared_ptr<const TunedLens> tuned,
         int64_t first, int64_t tokens, TokenId target, TokenId distractor);
    bool step();  // false: done
    double progress() const { return static_cast<double>(map_.read) / static_cast<double>(map_.tokens); }
    const LensMap& map() const { return map_; }

   private:
    const Transformer& model_;
    StateRun run_;
    at::Tensor seen_;
    std::shared_ptr<const TunedLens> tuned_;
    TokenId target_, distractor_;
    LensMap map_;
};

}  // namespace savepoint
