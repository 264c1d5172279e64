#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/form_stream.h"
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

// Scores of a run of tokens against a reference set. float32. Units are the form's: query heads, or KV heads.
struct AnomalyScores {
    at::Tensor distance;  // [tokens, layers, units] about 1 for normal text: Mahalanobis distance / sqrt(width); of
                          // other detectors the score over its median among calibration tokens of the same kind
    at::Tensor percentile;  // [tokens, layers, units] 0..100 among the calibration tokens of the same layer, unit and
                            // position bucket
    at::Tensor token;       // [tokens] mean squared distance over layers and units
    at::Tensor token_percentile;  // [tokens] 0..100
};

struct AnomalyTables;

// Normal text, as a choice of phi, form and detector sees it, for every position bucket, layer and unit: for
// Mahalanobis distances the mean and the covariance, shrunk as its number of sequences (not of tokens) demands; for
// the other detectors up to kKeptRows of its tokens' features, on which each is fitted. And the quantiles of the
// distances of calibration tokens that took part in none of it. Position buckets double: [0,4) [4,8) [8,16) ... [1024,
// inf) -- because a read-out is a running mean whose spread falls with t. A bucket that had too few tokens
// (Mahalanobis: 2 x width, other detectors: kLeastRows, quantiles: 20) uses the nearest one that had enough: with texts
// of 256 tokens all positions from 256 on are judged as [128,256), so that their distances come out somewhat small. A
// percentile p means that a new token of the calibration text's kind scores lower with probability p / 100 (order
// statistics at i / (n + 1)); scores outside all that was seen get 0 or 100, never NaN.
class AnomalyReference {
   public:
    // Features [tokens, layers, units, width] as stream() gives them; the first token stands at `first_position` of the
    // path. Throws InputError when the shape is another model's.
    AnomalyScores score(const at::Tensor& features, int64_t first_position) const;
    FormStream stream() const;  // what is scored, from a path's first token on
    const AnomalyChoice& choice() const;
    const std::string& name() const;                                    // to_string(choice())
    const std::shared_ptr<const Phi>& phi() const;                      // as it was when the reference was fitted
    const std::shared_ptr<const MatrixComponents>& components() const;  // null but for matrix forms
    int64_t fitted_tokens() const;
    int64_t calibration_tokens() const;
    int64_t layers() const;
    int64_t units() const;
    int64_t width() const;
    // Adds tensors and metadata whose names begin with `prefix`. load throws FileError(name, ...) on anything
    // missing, of another shape, or not finite. References of older versions are read too.
    void save(TensorFile& file, const std::string& prefix) const;
    static std::shared_ptr<const AnomalyReference> load(const TensorFile& file, const std::string& prefix,
                                                        const std::string& name);

   private:
    friend class AnomalyFit;
    std::shared_ptr<const AnomalyTables> tables_;
};

// Streaming: add() sequences (from position 0), then fit_moments(), then calibrate() held-out sequences, then finish().
// Throws InputError when called out of that order, on shapes of another model, on values that are not finite,
// and when the text was too short for even one position bucket. Keeps moments, distances and kept rows, no other
// sample. Calibrate on MANY sequences rather than long ones: tokens of one sequence are alike, so that the quantiles
// are as good as the number of sequences, not of tokens.
class AnomalyFit {
   public:
    // `phi`: the learned one where the choice says so; others are made from the settings. `components`: of matrix
    // forms.
    AnomalyFit(const ModelConfig& config, const AnomalyChoice& choice, std::shared_ptr<const Phi> phi = nullptr,
               std::shared_ptr<const MatrixComponents> components = nullptr);
    ~AnomalyFit();
    FormStream stream() const;
    // One sequence's features [n, layers, units, width], at these positions of it (ascending); none: at 0, 1, 2 ...
    void add(const at::Tensor& features, const std::vector<int64_t>& positions = {});
    void fit_moments();
    void calibrate(const at::Tensor& features, const std::vector<int64_t>& positions = {});
    std::shared_ptr<const AnomalyReference> finish() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
