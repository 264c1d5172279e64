#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <tuple>
#include <vector>

#include "core/analysis/anomaly.h"
#include "core/analysis/anomaly_tables.h"
#include "core/analysis/moments.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

// samples [n, sets] -> [sets, kQuantiles]. Order statistic i of n stands for i / (n + 1): the chance that a new
// sample falls below it, so that few samples do not make too many alarms (R's quantile type 6).
at::Tensor quantiles_of(const at::Tensor& samples) {
    const int64_t n = samples.size(0);
    const at::Tensor sorted = std::get<0>(samples.sort(0));
    const at::Tensor rank = (at::linspace(0, 1, kQuantiles, at::kDouble) * static_cast<double>(n + 1) - 1)
                                .clamp_(0, static_cast<double>(n - 1));
    const at::Tensor below = rank.floor();
    const at::Tensor low = sorted.index_select(0, below.to(at::kLong));
    const at::Tensor high = sorted.index_select(0, rank.ceil().to(at::kLong));
    // Rounding of the interpolation must not break the order that a search relies on.
    const at::Tensor steps = low + (high - low) * (rank - below).to(at::kFloat).unsqueeze(1);
    return std::get<0>(steps.cummax(0)).t().contiguous();
}

at::Tensor finite_rows(const at::Tensor& read_out, const AnomalyTables& t) {
    at::Tensor rows = by_set(read_out, t.layers, t.heads, t.head_dim);
    // A sum is finite only if each part is, and takes a twentieth of the time of asking each.
    if (!std::isfinite(rows.sum().item<float>()))
        throw InputError("anomaly fit: the read-out holds a value that is not finite");
    return rows;
}

}  // namespace

Shrunk ledoit_wolf(const at::Tensor& samples) {
    if (!samples.defined() || samples.dim() != 2 || samples.size(0) == 0 || samples.size(1) == 0)
        throw InputError("Ledoit-Wolf: samples must be a table [n, d] with at least one row");
    if (!samples.isfinite().all().item<bool>())
        throw InputError("Ledoit-Wolf: the samples hold a value that is not finite");
    Moments moments;
    moments.add(samples.to(at::kCPU, at::kDouble).unsqueeze(0));
    const ShrunkSets shrunk = ledoit_wolf(moments);
    return {shrunk.mean[0], shrunk.covariance[0], shrunk.shrinkage[0].item<double>()};
}

struct AnomalyFit::Impl {
    AnomalyTables tables;
    std::array<Moments, kPositionBuckets> moments;
    std::array<int64_t, kPositionBuckets> sequences{};                      // that reach into each bucket
    std::array<std::vector<at::Tensor>, kPositionBuckets> distance, token;  // of calibration sequences
    bool fitted = false;

    std::vector<int64_t> buckets_with_enough() const {
        std::vector<int64_t> enough;
        for (int64_t b = 0; b < kPositionBuckets; ++b)
            if (moments[b].count >= least_samples(tables.head_dim)) enough.push_back(b);
        if (enough.empty())
            throw InputError("anomaly fit: no position bucket has the " +
                             std::to_string(least_samples(tables.head_dim)) +
                             " tokens it needs; add more or longer sequences");
        return enough;
    }
};

AnomalyFit::AnomalyFit(const ModelConfig& config, FeatureMap map) : impl_(std::make_unique<Impl>()) {
    AnomalyTables& tables = impl_->tables;
    tables.map = map;
    tables.layers = config.layers;
    tables.heads = config.heads;
    tables.head_dim = config.head_dim;
    if (tables.sets() < 1 || tables.head_dim < 1) throw InputError("anomaly fit: the model has no attention heads");
}

AnomalyFit::~AnomalyFit() = default;

void AnomalyFit::add(const at::Tensor& read_out) {
    if (impl_->fitted) throw InputError("anomaly fit: add() must come before fit_moments()");
    const at::Tensor rows = finite_rows(read_out, impl_->tables);
    for_each_bucket(0, rows.size(0), [&](int64_t bucket, int64_t begin, int64_t end) {
        impl_->moments[bucket].add(rows.slice(0, begin, end).transpose(0, 1).contiguous());
        ++impl_->sequences[bucket];
    });
    impl_->tables.fitted_tokens += rows.size(0);
}

void AnomalyFit::fit_moments() {
    if (impl_->fitted) throw InputError("anomaly fit: fit_moments() was called before");
    AnomalyTables& tables = impl_->tables;
    tables.fitted = impl_->buckets_with_enough();
    std::vector<at::Tensor> means, whitenings;
    for (int64_t bucket : tables.fitted) {
        const ShrunkSets shrunk = ledoit_wolf(impl_->moments[bucket], impl_->sequences[bucket]);
        means.push_back(shrunk.mean.to(at::kFloat));
        whitenings.push_back(whitening(shrunk.covariance).to(at::kFloat));
    }
    tables.mean = at::stack(means);
    tables.whitening = at::stack(whitenings);
    impl_->moments = {};
    impl_->fitted = true;
}

void AnomalyFit::calibrate(const at::Tensor& read_out) {
    if (!impl_->fitted) throw InputError("anomaly fit: calibrate() must come after fit_moments()");
    const at::Tensor rows = finite_rows(read_out, impl_->tables);
    const at::Tensor distance = distances(impl_->tables, rows, 0), token = token_scores(distance);
    for_each_bucket(0, rows.size(0), [&](int64_t bucket, int64_t begin, int64_t end) {
        impl_->distance[bucket].push_back(distance.slice(0, begin, end));
        impl_->token[bucket].push_back(token.slice(0, begin, end).unsqueeze(1));
    });
    impl_->tables.calibration_tokens += rows.size(0);
}

std::shared_ptr<const AnomalyReference> AnomalyFit::finish() const {
    auto tables = std::make_shared<AnomalyTables>(impl_->tables);
    std::vector<at::Tensor> quantiles, token_quantiles;
    for (int64_t bucket = 0; bucket < kPositionBuckets; ++bucket) {
        if (impl_->distance[bucket].empty()) continue;
        const at::Tensor samples = at::cat(impl_->distance[bucket]);
        if (samples.size(0) < kLeastCalibration) continue;
        tables->calibrated.push_back(bucket);
        quantiles.push_back(quantiles_of(samples));
        token_quantiles.push_back(quantiles_of(at::cat(impl_->token[bucket])).squeeze(0));
    }
    if (quantiles.empty())
        throw InputError("anomaly fit: no position bucket has the " + std::to_string(kLeastCalibration) +
                         " calibration tokens it needs; calibrate() more or longer sequences");
    tables->quantiles = at::stack(quantiles);
    tables->token_quantiles = at::stack(token_quantiles);
    auto reference = std::make_shared<AnomalyReference>();
    reference->tables_ = std::move(tables);
    return reference;
}

}  // namespace savepoint
