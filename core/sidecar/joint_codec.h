#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/joint_settings.h"
#include "core/sidecar/sensitivity.h"

namespace savepoint {

// One z for a group's hidden states, keys and values: the coefficients of a Karhunen-Loeve transform of the group's
// directions and lengths of hidden states (BlockFeatures, part full) in the metric of what an error costs, on a grid of
// one step for all, entropy-coded (codec_transform.h). Nothing is predicted from the token or from the blocks below, so
// that a group's z stands for itself: it can be moved, copied and interpolated without the others. Keys and values are
// those that the next block makes of the decoded state, and of the token's embedding in block 0. z is counted in steps.
class JointCodec final : public HiddenCodec {
   public:
    // deviation, explained: by group, [components]. Throws InputError for a transform of another part, or with
    // predictions or steps by token.
    JointCodec(std::shared_ptr<const TransformCodec> transform, const std::vector<at::Tensor>& deviation,
               const std::vector<at::Tensor>& explained, double bytes_per_token);

    std::string kind() const override { return "joint"; }
    const std::vector<LayerGroup>& groups() const override { return blocks_; }
    int64_t components(int64_t group) const override;
    at::Tensor encode(const at::Tensor& hidden) const override;
    at::Tensor decode(const at::Tensor& z) const override;
    at::Tensor decode_group(const at::Tensor& z, int64_t group) const override;
    at::Tensor component_std() const override { return std_; }
    at::Tensor component_mean() const override { return at::zeros_like(std_); }  // the axes start at the mean
    at::Tensor component_unit() const override { return unit_; }
    at::Tensor explained() const override { return explained_; }          // of the cost that the metric counts
    double bytes_per_token() const override { return bytes_per_token_; }  // mean, of texts outside the transform's fit
    std::string pack(const at::Tensor& z) const override;                 // to the nearest step
    at::Tensor unpack(const std::string& bytes, int64_t tokens) const override;
    void save(TensorFile& file, nlohmann::json& settings) const override;

    // The same as a codec of whole runs, as bytes rather than as values to be moved.
    std::shared_ptr<const RunCodec> of_runs() const { return transform_; }
    const ModelConfig& config() const { return transform_->features().config(); }
    // Hidden states, keys and values of all blocks.
    StateRows decode_state(const at::Tensor& z, std::span<const TokenId> tokens) const;
    // Keys and values that z of one group gives: of its blocks but the first, whose input is the group below.
    struct BlockRows {
        int64_t block;
        at::Tensor key, value;  // [tokens, kv_heads, head_dim]
    };
    std::vector<BlockRows> decode_group_kv(const at::Tensor& z, int64_t group) const;

   private:
    void check_latent(const at::Tensor& z) const;
    const TransformCodec::Group& group_at(int64_t group) const;
    at::Tensor features(const at::Tensor& z, int64_t group) const;  // [tokens, blocks of the group * width]

    std::shared_ptr<const TransformCodec> transform_;
    std::vector<LayerGroup> blocks_;
    int64_t most_;
    at::Tensor std_, unit_, explained_;  // [groups, most components], 0 beyond a group's own
    double bytes_per_token_;
};

// From a file's tensors and settings; throws FileError(name, ...) when they do not fit together.
std::shared_ptr<const JointCodec> load_joint(const TensorFile& file, const nlohmann::json& settings,
                                             const std::string& name, std::shared_ptr<const Weights> weights);

// Streams moments of runs, then gradients, then decomposes and finds the step of the rate asked, part by part.
class JointFit {
   public:
    JointFit(const Transformer& model, JointSettings settings, uint64_t seed);
    ~JointFit();
    // The rows of one sequence without its exact first tokens. Some are kept back: the step and the tables are fitted
    // on those. May throw InputError after decompose().
    void add(const CodedRun& run);
    int64_t tokens() const;
    // Sequences of one length, beyond their prefix: what errors in them cost (sensitivity.h).
    void add_gradients(const std::vector<std::vector<TokenId>>& sequences, int64_t prefix);
    int64_t groups() const;
    void decompose(int64_t group);
    // After all groups: the step of the rate, in short steps; false after the last. Throws InputError when too little
    // was added.
    bool search_step();
    std::shared_ptr<const JointCodec> finish();  // searches what is left

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
