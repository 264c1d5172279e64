#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "core/analysis/linear_attention.h"
#include "core/model/config.h"
#include "core/state/safetensors.h"

namespace savepoint {

// The Ledoit-Wolf shrinkage of a covariance toward mu * I (Ledoit & Wolf 2004, "A well-conditioned estimator
// for large-dimensional covariance matrices"), from samples [n, d]; equal to scikit-learn's LedoitWolf.
struct Shrunk { at::Tensor mean, covariance; double shrinkage; };  // float64
Shrunk ledoit_wolf(const at::Tensor& samples);

// Scores of a run of tokens against a reference set.
struct AnomalyScores {
    at::Tensor distance;    // [tokens, layers, heads] Mahalanobis distance / sqrt(head_dim): about 1 for normal text
    at::Tensor percentile;  // [tokens, layers, heads] 0..100 among the calibration tokens of the same layer, head and position bucket
    at::Tensor token;       // [tokens] mean squared distance over layers and heads
    at::Tensor token_percentile;  // [tokens] 0..100
};

// Normal text's read-outs: mean and shrunk covariance for every position bucket, layer and head, and the
// quantiles of the distances of calibration tokens that were NOT used for the moments. Position buckets
// double: [0,4) [4,8) [8,16) ... [1024, inf) -- because a read-out is a running mean whose spread falls with t.
class AnomalyReference {
   public:
    AnomalyScores score(const at::Tensor& read_out, int64_t first_position) const;  // [tokens, layers, heads, head_dim]
    FeatureMap map() const;
    int64_t fitted_tokens() const;
    int64_t calibration_tokens() const;
    void save(TensorFile& file, const std::string& prefix) const;
    static std::shared_ptr<const AnomalyReference> load(const TensorFile& file, const std::string& prefix, const std::string& name);

   private:
    friend class AnomalyFit;
    struct Data;
    std::shared_ptr<const Data> data_;
};

// Streaming: add() sequences (from position 0), then fit_moments(), then calibrate() held-out sequences, then finish().
class AnomalyFit {
   public:
    AnomalyFit(const ModelConfig& config, FeatureMap map);
    ~AnomalyFit();
    void add(const at::Tensor& read_out);        // one sequence: [tokens, layers, heads, head_dim]
    void fit_moments();
    void calibrate(const at::Tensor& read_out);  // one sequence
    std::shared_ptr<const AnomalyReference> finish() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
