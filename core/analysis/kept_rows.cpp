#include "core/analysis/kept_rows.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/noise.h"

namespace savepoint {

namespace {

constexpr uint64_t kSeed = 1;

PointTable table_of(const at::Tensor& rows, int64_t set) {
    const at::Tensor one = rows.select(1, set).contiguous();
    PointTable table{one.size(0), one.size(1), {}};
    table.values.assign(one.const_data_ptr<float>(), one.const_data_ptr<float>() + one.numel());
    return table;
}

}  // namespace

KeptRows::KeptRows(const DetectorSettings& settings, std::vector<at::Tensor> rows)
    : settings_(settings), rows_(std::move(rows)), once_(rows_.size()), detectors_(rows_.size()) {
    for (const at::Tensor& bucket : rows_)
        if (bucket.dim() != 3 || bucket.size(0) < kLeastRows || bucket.size(0) > kKeptRows)
            throw InputError("kept rows: a bucket must hold " + std::to_string(kLeastRows) + " to " +
                             std::to_string(kKeptRows) + " of them");
}

const KeptRows::Detectors& KeptRows::detectors(int64_t bucket) const {
    const auto i = static_cast<size_t>(bucket);
    std::call_once(once_[i], [&] {
        Detectors made;
        for (int64_t set = 0; set < rows_[i].size(1); ++set) {
            made.push_back(make_detector(settings_));
            made.back()->fit(table_of(rows_[i], set));
        }
        detectors_[i] = std::move(made);
    });
    return detectors_[i];
}

at::Tensor KeptRows::score(int64_t bucket, const at::Tensor& rows) const {
    const Detectors& of_sets = detectors(bucket);
    const int64_t n = rows.size(0), sets = rows.size(1);
    at::Tensor out = at::empty({n, sets}, at::kFloat);
    float* to = out.data_ptr<float>();
    // Features are finite; what is not gets the percentile 100 further on, as under Mahalanobis.
    const at::Tensor finite = rows.isfinite().all(2), safe = at::nan_to_num(rows, 0, 0, 0);
    for (int64_t set = 0; set < sets; ++set) {
        const std::vector<double> scores = of_sets[static_cast<size_t>(set)]->score(table_of(safe, set));
        for (int64_t i = 0; i < n; ++i) to[i * sets + set] = static_cast<float>(scores[static_cast<size_t>(i)]);
    }
    return out.masked_fill_(finite.logical_not(), NAN);
}

void RowReservoir::add(const at::Tensor& rows) {
    for (int64_t i = 0; i < rows.size(0); ++i, ++seen_) {
        if (static_cast<int64_t>(rows_.size()) < kKeptRows) {
            rows_.push_back(rows[i].clone());
            continue;
        }
        const uint64_t place = mixed({kSeed, static_cast<uint64_t>(seen_)}) % static_cast<uint64_t>(seen_ + 1);
        if (place < rows_.size()) rows_[place] = rows[i].clone();
    }
}

at::Tensor RowReservoir::kept() const { return at::stack(rows_); }

}  // namespace savepoint
