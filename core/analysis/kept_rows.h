#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core/analysis/detector.h"

namespace savepoint {

inline constexpr int64_t kKeptRows = 128;  // at most, of a position bucket and set
inline constexpr int64_t kLeastRows = 32;  // that a bucket needs for detectors of its own

// Reference rows that detectors are fitted on, one for each position bucket and set (layer and unit). A bucket's
// detectors are made when it is first asked for: from the same rows always the same ones.
class KeptRows {
   public:
    // rows: a bucket each, [n, sets, width] float32, kLeastRows <= n <= kKeptRows.
    KeptRows(const DetectorSettings& settings, std::vector<at::Tensor> rows);
    const std::vector<at::Tensor>& rows() const { return rows_; }
    // Scores of rows [n, sets, width] by the detectors of the bucket at that index: [n, sets].
    at::Tensor score(int64_t bucket, const at::Tensor& rows) const;

   private:
    using Detectors = std::vector<std::unique_ptr<Detector>>;
    const Detectors& detectors(int64_t bucket) const;

    DetectorSettings settings_;
    std::vector<at::Tensor> rows_;
    mutable std::deque<std::once_flag> once_;
    mutable std::vector<Detectors> detectors_;
};

// The first kKeptRows of a stream, then each new one in the place of a random one: every row of the stream is kept with
// the same probability (Vitter 1985, algorithm R). The seed is fixed.
class RowReservoir {
   public:
    void add(const at::Tensor& rows);  // [n, sets, width]
    int64_t seen() const { return seen_; }
    at::Tensor kept() const;  // [n, sets, width]

   private:
    std::vector<at::Tensor> rows_;
    int64_t seen_ = 0;
};

}  // namespace savepoint
