#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "core/sidecar/block_features.h"
#include "core/sidecar/codec.h"
#include "core/sidecar/coefficient_coder.h"
#include "core/sidecar/run_codec.h"
#include "core/sidecar/token_importance.h"

namespace savepoint {

// Karhunen-Loeve transform coding with one uniform step for all coefficients and an entropy coder behind it: for
// Gaussian data that is reverse water-filling, the best allocation of bits (Cover & Thomas, 10.3.3; KVTC codes K/V so).
// What it adds: blocks are coded in groups; the transform is taken in the metric of what an error costs
// (BlockFeatures::metric), so that bits go to what moves the next-token distribution; and each group is first
// predicted, linearly, from the token's embedding and from the decoded features of the block below it.
//   y = U L (x - mean - A (context - its mean)) / step,  q = round(y),  L^2 = metric,  U: eigenvectors of L cov L
// With a TokenImportance a token's step is finer or coarser than the codec's by how much later tokens depend on it.
struct TransformSettings {
    // How coefficients are rounded, and what a rounded value stands for.
    struct Rounding {
        double dead_zone;  // of a step: what is that near a boundary goes to the cell nearer to zero
        double pull;       // share of the way from the middle of a cell to the mean of what falls into it
    };
    CodedPart part = CodedPart::full;
    int64_t group_size = 4;
    bool from_token = true, from_below = true;  // the two predictions
    double kl_weight = 4;                       // full: nats of KL worth as much as hidden variance unexplained
    int64_t max_components = 4096;              // of a group
    int64_t sample_tokens = 1536;               // held in memory, outside the moments: for tables and for the step
    std::optional<Rounding> rounding;           // none: rounding_of(part)
    std::vector<double> ratios = {8, 16, 32};   // times smaller than fp16, without the token ids
    std::string label;                          // for the codec's name; empty: made from the above
    bool exact_products = false;                // never in bfloat16: a token alone is decoded as it is among many
    bool bfloat16 = false;  // products may be taken so; set by the fit, where rounding loses far more than that
};

// What serves a part best. Squared error is least for the means of cells, and at equal bits for roundings towards zero;
// but errors towards zero are alike in all tokens, and attention, which averages keys and values over tokens, averages
// out only what differs between them. So hidden and full, judged by squared error, have both, and kv has little of it.
TransformSettings::Rounding rounding_of(CodedPart part);

// What a group is predicted from, side by side: [tokens, d_model (+ width)]; undefined when it is not.
at::Tensor transform_context(bool from_token, bool from_below, const at::Tensor& embeddings, const at::Tensor& below);

// Rounds to the grid; what lies within dead_zone of a boundary goes to the cell nearer to zero.
at::Tensor round_to_steps(const at::Tensor& steps, double dead_zone);

class TransformCodec final : public RunCodec {
   public:
    struct Group {
        LayerGroup blocks;
        at::Tensor encode, decode;  // [components, width] each: U L, and the transpose of L^-1 U^T
        at::Tensor mean;            // [width]
        at::Tensor predict;         // [width, context], undefined: no prediction
        at::Tensor context_mean;    // [context]
        CoefficientCoder coder;
        at::Tensor short_encode, short_decode, short_predict;  // in bfloat16, where they are used
        at::Tensor decode_last, short_decode_last;             // of the group's last block alone
        int64_t width() const { return mean.size(0); }
        int64_t components() const { return encode.size(0); }
    };
    TransformCodec(std::shared_ptr<const BlockFeatures> features, TransformSettings settings, std::vector<Group> groups,
                   double step, std::string name, std::shared_ptr<const TokenImportance> importance = nullptr);

    std::string kind() const override { return "transform"; }
    std::string name() const override { return name_; }
    CodedPart part() const override { return features_->part(); }
    std::string encode(const CodedRun& run) const override;
    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t first_position) const override;
    void save(TensorFile& file, nlohmann::json& settings) const override;

    // The same with its matrices on another device, for the parts below: whole runs are coded on the CPU.
    std::shared_ptr<const TransformCodec> on(const c10::Device& device) const;

    const BlockFeatures& features() const { return *features_; }
    const std::vector<Group>& groups() const { return groups_; }
    double step() const { return step_; }
    const TransformSettings& settings() const { return settings_; }
    const TransformSettings::Rounding& rounding() const { return *settings_.rounding; }

    // z of a run, per group [tokens, components], in each token's own steps.
    struct Latent {
        std::vector<at::Tensor> rounded, exact;  // exact: before rounding
        at::Tensor coarser;  // [tokens, groups] int32 (TokenImportance); undefined: every token has the codec's step
        at::Tensor coarser_of(size_t group) const { return token_coarser(coarser, group); }
    };
    Latent quantise(const CodedRun& run) const { return latent(run, true); }
    // Features by block, from coefficients in the codec's steps.
    std::vector<at::Tensor> reconstruct(const std::vector<at::Tensor>& z, std::span<const TokenId> tokens) const;
    // What rounded values stand for, in the codec's steps.
    at::Tensor values(size_t group, const at::Tensor& rounded, const at::Tensor& coarser) const;
    const TokenImportance* importance() const { return importance_.get(); }

    // The parts of both, for rows [tokens, ..]. What is predicted of a group's features [tokens, width] (undefined:
    // nothing; below: decoded features of the block below it), its coefficients in steps, and its features from those.
    at::Tensor prediction(const Group& group, const BlockFeatures::Distinct& tokens, const at::Tensor& below) const;
    // ends: of each row only so many coefficients are asked for ([tokens] int64; undefined: all).
    at::Tensor coefficients(const Group& group, const at::Tensor& features, const at::Tensor& prediction,
                            const at::Tensor& ends = {}) const;
    at::Tensor group_features(const Group& group, const at::Tensor& steps, const at::Tensor& prediction) const;
    at::Tensor last_block_features(const Group& group, const at::Tensor& steps, const at::Tensor& prediction) const;
    BlockFeatures::Distinct predicted_from(std::span<const TokenId> tokens) const;
    at::Tensor features_of(const Group& group, const StateRows& rows) const;  // throws InputError when not finite

   private:
    friend class TransformFit;
    void prepare();
    Latent latent(const CodedRun& run, bool all) const;  // all: what is not coded, too, in `exact`

    std::shared_ptr<const BlockFeatures> features_;
    TransformSettings settings_;
    std::vector<Group> groups_;
    double step_;
    std::string name_;
    std::shared_ptr<const TokenImportance> importance_;
};

// Throws FileError when the parts do not fit together or are of another model's shape.
std::shared_ptr<const TransformCodec> load_transform(const TensorFile& file, const nlohmann::json& settings,
                                                     const std::string& name, std::shared_ptr<const Weights> weights);

// Streams second moments; a part of the runs is kept for the tables and the step of each rate.
class TransformFit final : public RunCodecFit {
   public:
    TransformFit(std::shared_ptr<const Weights> weights, TransformSettings settings,
                 std::optional<Sensitivity> sensitivity = {});
    ~TransformFit() override;
    TransformFit(TransformFit&&) noexcept;
    void add(const CodedRun& run) override;
    std::vector<std::shared_ptr<const RunCodec>> finish() override;
    // Whether the run that is added as number `run`, from 0, goes into the sample while that is not full.
    static bool samples(int64_t run) { return run % 5 == 2; }

    // finish() in parts, for a job: decompose each group, then make the codec of each rate. In another metric, all
    // groups are decomposed again.
    int64_t groups() const;
    const TransformSettings& settings() const;
    void set_sensitivity(Sensitivity sensitivity);
    void set_importance(TokenImportance importance);  // of the groups as they are decomposed
    void decompose(int64_t group);
    std::shared_ptr<const TransformCodec> codec(double ratio);
    // The same in short steps: one trial each, false after the last.
    void begin_codec(double ratio);
    bool search_step();
    std::shared_ptr<const TransformCodec> found_codec() const;
    // Of the newest codec's bytes, without the token ids, on the texts that were kept out of the moments.
    double sampled_bytes_per_token() const;
    // Variances along a decomposed group's axes, in the metric: descending, float64; total: of all axes.
    struct Spectrum {
        at::Tensor values;
        double total;
    };
    Spectrum spectrum(int64_t group) const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
