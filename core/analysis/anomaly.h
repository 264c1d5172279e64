#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/analysis/linear_attention.h"
#include "core/model/config.h"
#include "core/state/safetensors.h"

namespace savepoint {

// The Ledoit-Wolf shrinkage of a covariance toward mu * I (Ledoit & Wolf 2004, "A well-conditioned estimator
// for large-dimensional covariance matrices"), from samples [n, d]; equal to scikit-learn's LedoitWolf.
// Throws InputError on an empty table or on values that are not finite.
struct Shrunk {
    at::Tensor mean, covariance;
    double shrinkage;
};  // float64
Shrunk ledoit_wolf(const at::Tensor& samples);

// Scores of a run of tokens against a reference set. float32.
struct AnomalyScores {
    at::Tensor distance;    // [tokens, layers, heads] Mahalanobis distance / sqrt(head_dim): about 1 for normal text
    at::Tensor percentile;  // [tokens, layers, heads] 0..100 among the calibration tokens of the same layer, head and
                            // position bucket
    at::Tensor token;       // [tokens] mean squared distance over layers and heads
    at::Tensor token_percentile;  // [tokens] 0..100
};

struct AnomalyTables;

// Normal text's read-outs: mean and covariance, shrunk as its number of sequences (not of tokens) demands, for every
// position bucket, layer and head, and the quantiles of the distances of calibration tokens that were NOT used for the
// moments. Position buckets double: [0,4) [4,8) [8,16) ... [1024, inf) -- because a read-out is a running mean whose
// spread falls with t. A bucket that had too few tokens (moments: 2 x head_dim, quantiles: 20) uses the nearest one
// that had enough: with texts of 256 tokens all positions from 256 on are judged as [128,256), so that their distances
// come out somewhat small. A percentile p means that a new token of the calibration text's kind scores lower with
// probability p / 100 (order statistics at i / (n + 1)); scores outside all that was seen get 0 or 100, never NaN.
class AnomalyReference {
   public:
    // read_out [tokens, layers, heads, head_dim]; its first token stands at `first_position` of the path.
    // Throws InputError when the shape is another model's.
    AnomalyScores score(const at::Tensor& read_out, int64_t first_position) const;
    FeatureMap map() const;
    int64_t fitted_tokens() const;
    int64_t calibration_tokens() const;
    int64_t layers() const;
    int64_t heads() const;
    int64_t head_dim() const;
    // Adds tensors and metadata whose names begin with `prefix`. load throws FileError(name, ...) on anything
    // missing, of another shape, or not finite.
    void save(TensorFile& file, const std::string& prefix) const;
    static std::shared_ptr<const AnomalyReference> load(const TensorFile& file, const std::string& prefix,
                                                        const std::string& name);

   private:
    friend class AnomalyFit;
    std::shared_ptr<const AnomalyTables> tables_;
};

// Streaming: add() sequences (from position 0), then fit_moments(), then calibrate() held-out sequences, then finish().
// Throws InputError when called out of that order, on shapes of another model, on values that are not finite,
// and when the text was too short for even one position bucket. Keeps no sample, only moments and distances.
// Calibrate on MANY sequences rather than long ones: tokens of one sequence are alike, so that the quantiles
// are as good as the number of sequences, not of tokens.
class AnomalyFit {
   public:
    AnomalyFit(const ModelConfig& config, FeatureMap map);
    ~AnomalyFit();
    void add(const at::Tensor& read_out);  // one sequence: [tokens, layers, heads, head_dim]
    void fit_moments();
    void calibrate(const at::Tensor& read_out);  // one sequence
    std::shared_ptr<const AnomalyReference> finish() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
