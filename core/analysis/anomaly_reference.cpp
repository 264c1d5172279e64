#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include "core/analysis/anomaly.h"
#include "core/analysis/anomaly_tables.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

float percentile(const float* quantiles, float x) {
    constexpr int64_t last = kQuantiles - 1;
    if (!std::isfinite(x) || x > quantiles[last]) return 100;
    const float* above = std::lower_bound(quantiles, quantiles + kQuantiles, x);
    if (above == quantiles) return 0;
    const int64_t i = above - quantiles;
    const float step = quantiles[i] - quantiles[i - 1];
    const float whole = static_cast<float>(i - 1) + (step > 0 ? (x - quantiles[i - 1]) / step : 1.0f);
    return whole * (100.0f / static_cast<float>(last));
}

// distance [tokens, sets] -> percentiles of the same shape, each set by its own quantiles.
at::Tensor percentiles(const at::Tensor& distance, const at::Tensor& quantiles, const std::vector<int64_t>& calibrated,
                       const std::vector<int64_t>& positions) {
    const int64_t sets = distance.size(1);
    const at::Tensor x = distance.contiguous();
    at::Tensor out = at::empty_like(x);
    const float* from = x.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    for_each_bucket(positions, [&](int64_t bucket, int64_t begin, int64_t end) {
        const float* table = quantiles.const_data_ptr<float>() + nearest_bucket(calibrated, bucket) * sets * kQuantiles;
        for (int64_t i = begin * sets; i < end * sets; ++i)
            to[i] = percentile(table + (i % sets) * kQuantiles, from[i]);
    });
    return out;
}

void divide_by_scale(at::Tensor& distance, const at::Tensor& scale, const std::vector<int64_t>& calibrated,
                     const std::vector<int64_t>& positions) {
    for_each_bucket(positions, [&](int64_t bucket, int64_t begin, int64_t end) {
        distance.slice(0, begin, end).div_(scale[nearest_bucket(calibrated, bucket)]);
    });
}

}  // namespace

int64_t position_bucket(int64_t position) {
    int64_t bucket = 0;
    while (bucket + 1 < kPositionBuckets && position >= bucket_end(bucket)) ++bucket;
    return bucket;
}

int64_t bucket_begin(int64_t bucket) { return bucket == 0 ? 0 : int64_t{2} << bucket; }

int64_t bucket_end(int64_t bucket) {
    return bucket + 1 == kPositionBuckets ? std::numeric_limits<int64_t>::max() : int64_t{4} << bucket;
}

int64_t nearest_bucket(const std::vector<int64_t>& have, int64_t bucket) {
    size_t best = 0;
    for (size_t i = 1; i < have.size(); ++i)
        if (std::abs(have[i] - bucket) < std::abs(have[best] - bucket)) best = i;
    return static_cast<int64_t>(best);
}

std::vector<int64_t> positions_from(int64_t first, int64_t count) {
    std::vector<int64_t> positions(static_cast<size_t>(count));
    std::iota(positions.begin(), positions.end(), first);
    return positions;
}

at::Tensor by_set(const at::Tensor& features, const AnomalyTables& t) {
    const bool fits = features.defined() && features.dim() == 4 && features.size(1) == t.layers &&
                      features.size(2) == t.units && features.size(3) == t.width;
    if (!fits) {
        std::ostringstream message;
        message << "anomaly score: features must be [tokens, " << t.layers << ", " << t.units << ", " << t.width << "]";
        if (features.defined()) message << ", not " << features.sizes();
        throw InputError(message.str());
    }
    return features.to(at::kCPU, at::kFloat).reshape({features.size(0), t.sets(), t.width});
}

at::Tensor raw_distances(const AnomalyTables& tables, const at::Tensor& rows, const std::vector<int64_t>& positions) {
    at::Tensor out = at::empty({rows.size(0), tables.sets()}, at::kFloat);
    for_each_bucket(positions, [&](int64_t bucket, int64_t begin, int64_t end) {
        const int64_t i = nearest_bucket(tables.fitted, bucket);
        if (tables.kept) {
            out.slice(0, begin, end).copy_(tables.kept->score(i, rows.slice(0, begin, end)));
            return;
        }
        const at::Tensor centred = rows.slice(0, begin, end) - tables.mean[i];
        const at::Tensor white = at::bmm(tables.whitening[i], centred.permute({1, 2, 0}));
        out.slice(0, begin, end).copy_(white.square().mean(1).sqrt_().t());
    });
    return out;
}

at::Tensor token_scores(const at::Tensor& distance) { return distance.square().flatten(1).mean(1); }

AnomalyScores AnomalyReference::score(const at::Tensor& features, int64_t first_position) const {
    const AnomalyTables& t = *tables_;
    if (first_position < 0) throw InputError("anomaly score: the first position must not be negative");
    const at::Tensor rows = by_set(features, t);
    const int64_t tokens = rows.size(0);
    const std::vector<int64_t> positions = positions_from(first_position, tokens);
    at::Tensor distance = raw_distances(t, rows, positions);
    if (t.scale.defined()) divide_by_scale(distance, t.scale, t.calibrated, positions);
    const at::Tensor token = token_scores(distance);
    const at::Tensor ranks = percentiles(distance, t.quantiles, t.calibrated, positions);
    const at::Tensor token_ranks =
        percentiles(token.unsqueeze(1), t.token_quantiles, t.calibrated, positions).squeeze(1);
    return {distance.view({tokens, t.layers, t.units}), ranks.view({tokens, t.layers, t.units}), token, token_ranks};
}

FormStream AnomalyReference::stream() const {
    return FormStream(tables_->phi, tables_->choice.form, tables_->components);
}

const AnomalyChoice& AnomalyReference::choice() const { return tables_->choice; }
const std::string& AnomalyReference::name() const { return tables_->name; }
const std::shared_ptr<const Phi>& AnomalyReference::phi() const { return tables_->phi; }
const std::shared_ptr<const MatrixComponents>& AnomalyReference::components() const { return tables_->components; }
int64_t AnomalyReference::fitted_tokens() const { return tables_->fitted_tokens; }
int64_t AnomalyReference::calibration_tokens() const { return tables_->calibration_tokens; }
int64_t AnomalyReference::layers() const { return tables_->layers; }
int64_t AnomalyReference::units() const { return tables_->units; }
int64_t AnomalyReference::width() const { return tables_->width; }

}  // namespace savepoint
