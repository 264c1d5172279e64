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

at::Tensor finite_rows(const at::Tensor& features, const AnomalyTables& t) {
    at::Tensor rows = by_set(features, t);
    // A sum is finite only if each part is, and takes a twentieth of the time of asking each.
    if (!std::isfinite(rows.sum().item<float>()))
        throw InputError("anomaly fit: the features hold a value that is not finite");
    return rows;
}

std::vector<int64_t> positions_of(const at::Tensor& rows, const std::vector<int64_t>& given) {
    if (given.empty()) return positions_from(0, rows.size(0));
    if (static_cast<int64_t>(given.size()) != rows.size(0))
        throw InputError("anomaly fit: one position for each row is needed");
    return given;
}

// Of scores [n, sets], the median of each set; a median of 0 (rows that never vary) scales by nothing.
at::Tensor median_scores(const at::Tensor& scores) {
    const at::Tensor median = std::get<0>(scores.median(0));
    return at::where(median > 0, median, at::ones_like(median));
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
    std::array<Moments, kPositionBuckets> moments;                   // Mahalanobis
    std::array<RowReservoir, kPositionBuckets> kept;                 // other detectors
    std::array<int64_t, kPositionBuckets> sequences{};               // that reach into each bucket
    std::array<std::vector<at::Tensor>, kPositionBuckets> distance;  // of calibration sequences, not scaled
    bool fitted = false;

    bool samples() const { return tables.choice.detector != DetectorKind::mahalanobis; }

    std::vector<int64_t> buckets_with_enough() const {
        const int64_t least = least_samples(tables.choice.detector, tables.width);
        std::vector<int64_t> enough;
        for (int64_t b = 0; b < kPositionBuckets; ++b)
            if ((samples() ? kept[b].seen() : moments[b].count) >= least) enough.push_back(b);
        if (enough.empty())
            throw InputError("anomaly fit: no position bucket has the " + std::to_string(least) +
                             " tokens it needs; add more or longer sequences");
        return enough;
    }

    void shrink() {
        std::vector<at::Tensor> means, whitenings;
        for (int64_t bucket : tables.fitted) {
            const ShrunkSets shrunk = ledoit_wolf(moments[bucket], sequences[bucket]);
            means.push_back(shrunk.mean.to(at::kFloat));
            whitenings.push_back(whitening(shrunk.covariance).to(at::kFloat));
        }
        tables.mean = at::stack(means);
        tables.whitening = at::stack(whitenings);
        moments = {};
    }

    void keep_rows() {
        std::vector<at::Tensor> rows;
        for (int64_t bucket : tables.fitted) rows.push_back(kept[bucket].kept());
        tables.kept = std::make_shared<const KeptRows>(live_settings(tables.choice.detector), std::move(rows));
        kept = {};
    }
};

AnomalyFit::AnomalyFit(const ModelConfig& config, const AnomalyChoice& choice, std::shared_ptr<const Phi> phi,
                       std::shared_ptr<const MatrixComponents> components)
    : impl_(std::make_unique<Impl>()) {
    if (needs_other(choice.detector))
        throw InputError("anomaly fit: " + to_string(choice.detector) + " wants a second set of texts");
    if (config.layers < 1 || config.heads < 1 || config.head_dim < 1)
        throw InputError("anomaly fit: the model has no attention heads");
    AnomalyTables& tables = impl_->tables;
    tables.choice = choice;
    tables.name = to_string(choice);
    tables.phi = phi ? std::move(phi) : std::make_shared<const Phi>(choice.phi, config.head_dim);
    tables.components = std::move(components);
    if (tables.phi->settings() != choice.phi) throw InputError("anomaly fit: phi is another than the choice's");
    if (is_matrix(choice.form) && !tables.components) throw InputError("anomaly fit: a matrix form needs components");
    const FormShape shape = form_shape(choice.form, *tables.phi, config);
    tables.layers = config.layers;
    tables.units = shape.units;
    tables.width = shape.width;
    tables.head_dim = config.head_dim;
}

AnomalyFit::~AnomalyFit() = default;

FormStream AnomalyFit::stream() const {
    return FormStream(impl_->tables.phi, impl_->tables.choice.form, impl_->tables.components);
}

void AnomalyFit::add(const at::Tensor& features, const std::vector<int64_t>& positions) {
    if (impl_->fitted) throw InputError("anomaly fit: add() must come before fit_moments()");
    const at::Tensor rows = finite_rows(features, impl_->tables);
    for_each_bucket(positions_of(rows, positions), [&](int64_t bucket, int64_t begin, int64_t end) {
        const at::Tensor part = rows.slice(0, begin, end);
        if (impl_->samples())
            impl_->kept[bucket].add(part);
        else
            impl_->moments[bucket].add(part.transpose(0, 1).contiguous());
        ++impl_->sequences[bucket];
    });
    impl_->tables.fitted_tokens += rows.size(0);
}

void AnomalyFit::fit_moments() {
    if (impl_->fitted) throw InputError("anomaly fit: fit_moments() was called before");
    impl_->tables.fitted = impl_->buckets_with_enough();
    impl_->samples() ? impl_->keep_rows() : impl_->shrink();
    impl_->fitted = true;
}

void AnomalyFit::calibrate(const at::Tensor& features, const std::vector<int64_t>& positions) {
    if (!impl_->fitted) throw InputError("anomaly fit: calibrate() must come after fit_moments()");
    const at::Tensor rows = finite_rows(features, impl_->tables);
    const std::vector<int64_t> at = positions_of(rows, positions);
    const at::Tensor distance = raw_distances(impl_->tables, rows, at);
    for_each_bucket(at, [&](int64_t bucket, int64_t begin, int64_t end) {
        impl_->distance[bucket].push_back(distance.slice(0, begin, end));
    });
    impl_->tables.calibration_tokens += rows.size(0);
}

std::shared_ptr<const AnomalyReference> AnomalyFit::finish() const {
    auto tables = std::make_shared<AnomalyTables>(impl_->tables);
    std::vector<at::Tensor> scales, quantiles, token_quantiles;
    for (int64_t bucket = 0; bucket < kPositionBuckets; ++bucket) {
        if (impl_->distance[bucket].empty()) continue;
        at::Tensor samples = at::cat(impl_->distance[bucket]);
        if (samples.size(0) < kLeastCalibration) continue;
        tables->calibrated.push_back(bucket);
        if (impl_->samples()) {
            scales.push_back(median_scores(samples));
            samples = samples / scales.back();
        }
        quantiles.push_back(quantiles_of(samples));
        token_quantiles.push_back(quantiles_of(token_scores(samples).unsqueeze(1)).squeeze(0));
    }
    if (quantiles.empty())
        throw InputError("anomaly fit: no position bucket has the " + std::to_string(kLeastCalibration) +
                         " calibration tokens it needs; calibrate() more or longer sequences");
    if (!scales.empty()) tables->scale = at::stack(scales);
    tables->quantiles = at::stack(quantiles);
    tables->token_quantiles = at::stack(token_quantiles);
    auto reference = std::make_shared<AnomalyReference>();
    reference->tables_ = std::move(tables);
    return reference;
}

}  // namespace savepoint
