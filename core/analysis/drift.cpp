#include "core/analysis/drift.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr size_t kPairsAtOnce = 64;  // linear-attention states are 4096 numbers a head

std::vector<int64_t> part_of(const std::vector<int64_t>& all, size_t first) {
    const size_t end = std::min(all.size(), first + kPairsAtOnce);
    return {all.begin() + static_cast<ptrdiff_t>(first), all.begin() + static_cast<ptrdiff_t>(end)};
}

}  // namespace

Drift::Drift(const Transformer& model, const StateRun& a, const StateRun& b, Alignment alignment,
             std::shared_ptr<const DriftScale> scale, std::shared_ptr<const Sidecar> sidecar, DriftSettings settings)
    : alignment_(std::move(alignment)),
      scale_(std::move(scale)),
      settings_(settings),
      a_(model, a, scale_->phi(), sidecar),
      b_(model, b, scale_->phi(), sidecar) {
    if (alignment_.pairs.empty()) throw InputError("drift: the two runs have no token in common to compare");
    for (const AlignedPair& pair : alignment_.pairs) of_a_.push_back(pair.a), of_b_.push_back(pair.b);
    for (auto part = kDriftParts.rbegin(); part != kDriftParts.rend(); ++part) {
        if (!a_.has(*part) || !scale_->has(*part)) continue;
        if (scale_->part(*part).typical.size(1) != a_.rows(*part) || a_.rows(*part) != b_.rows(*part) ||
            scale_->part(*part).typical.size(2) != a_.heads(*part))
            throw InputError("drift: " + to_string(*part) + " is of another model than its scale");
        left_.push_back(*part);
    }
    all_ = left_.size();
}

bool Drift::step() {
    if (!current_) {
        if (left_.empty()) return false;
        const DriftPart part = left_.back();
        left_.pop_back();
        DriftMap map;
        map.part = part, map.rows = a_.rows(part), map.heads = a_.heads(part);
        map.distance.resize(alignment_.pairs.size() * static_cast<size_t>(map.rows * map.heads));
        map.noise = static_cast<float>(kDriftNoiseFactor * scale_->part(part).noise);
        current_ = std::move(map);
        next_row_ = 0;
    }
    measure(*current_, next_row_++);
    if (next_row_ < current_->rows) return true;
    current_->first = first_drift(*current_, alignment_.pairs, settings_.band, settings_.first_token);
    maps_.push_back(std::move(*current_));
    current_.reset();
    return !left_.empty();
}

void Drift::measure(DriftMap& map, int64_t row) {
    const at::Tensor typical = scale_->part(map.part).typical.select(1, row).contiguous();  // [buckets, heads]
    const float* scale = typical.data_ptr<float>();
    for (size_t first = 0; first < of_a_.size(); first += kPairsAtOnce) {
        const at::Tensor apart =
            row_distances(a_.read(map.part, row, part_of(of_a_, first)), b_.read(map.part, row, part_of(of_b_, first)))
                .contiguous();
        const float* distances = apart.data_ptr<float>();
        for (int64_t i = 0; i < apart.size(0); ++i) {
            const size_t pair = first + static_cast<size_t>(i);
            const int64_t bucket = DriftScale::bucket(std::min(of_a_[pair], of_b_[pair]));
            for (int64_t head = 0; head < map.heads; ++head)
                map.distance[(pair * static_cast<size_t>(map.rows) + static_cast<size_t>(row)) *
                                 static_cast<size_t>(map.heads) +
                             static_cast<size_t>(head)] =
                    distances[i * map.heads + head] / scale[bucket * map.heads + head];
        }
    }
}

double Drift::progress() const {
    const double rows = current_ ? static_cast<double>(next_row_) / static_cast<double>(current_->rows) : 0;
    return (static_cast<double>(maps_.size()) + rows) / static_cast<double>(std::max<size_t>(1, all_));
}

std::string Drift::stage() const {
    if (!current_) return {};
    return "comparing " + to_string(current_->part) + " " + std::to_string(next_row_) + " of " +
           std::to_string(current_->rows);
}

}  // namespace savepoint
