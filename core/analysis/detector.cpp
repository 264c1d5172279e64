#include "core/analysis/detector.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/analysis/detector_parts.h"
#include "core/analysis/knn.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

const std::array<std::pair<DetectorKind, const char*>, 8> kNames{
    {{DetectorKind::mahalanobis, "mahalanobis"},
     {DetectorKind::relative_mahalanobis, "relative"},
     {DetectorKind::contrastive_mahalanobis, "contrastive"},
     {DetectorKind::knn, "knn"},
     {DetectorKind::lof, "lof"},
     {DetectorKind::isolation_forest, "isolation_forest"},
     {DetectorKind::pca_residual, "pca_residual"},
     {DetectorKind::ecod, "ecod"}}};

void check_width(const PointTable& points, int64_t width, const char* what) {
    check_points(points, what);
    if (points.columns != width)
        throw InputError(std::string(what) + ": rows have " + std::to_string(points.columns) +
                         " columns, the detector was fitted on " + std::to_string(width));
}

}  // namespace

std::string to_string(DetectorKind kind) {
    for (const auto& [one, name] : kNames)
        if (one == kind) return name;
    return "?";
}

DetectorKind detector_from(const std::string& name) {
    std::string known;
    for (const auto& [kind, one] : kNames) {
        if (name == one) return kind;
        known += (known.empty() ? "" : ", ") + std::string(one);
    }
    throw InputError("detector: \"" + name + "\" is none of " + known);
}

const std::vector<DetectorKind>& all_detectors() {
    static const std::vector<DetectorKind> all = [] {
        std::vector<DetectorKind> kinds;
        for (const auto& entry : kNames) kinds.push_back(entry.first);
        return kinds;
    }();
    return all;
}

bool needs_other(DetectorKind kind) {
    return kind == DetectorKind::relative_mahalanobis || kind == DetectorKind::contrastive_mahalanobis;
}

void Detector::fit(const PointTable& normal, const PointTable& other) {
    check_points(normal, "detector");
    if (normal.rows < 2) throw InputError("detector: needs at least two normal rows");
    if (needs_other()) {
        check_width(other, normal.columns, "detector, second set");
        if (other.rows < 2) throw InputError("detector, second set: needs at least two rows");
    }
    fit_rows(normal, other);
    width_ = normal.columns;
    reference_.clear();
}

std::vector<double> Detector::score(const PointTable& rows) const {
    if (width_ == 0) throw InputError("detector: fit() must come before score()");
    check_width(rows, width_, "detector");
    return score_rows(rows);
}

void Detector::calibrate(const PointTable& normal) {
    reference_ = score(normal);
    std::sort(reference_.begin(), reference_.end());
}

double Detector::p_value(double score) const {
    if (!calibrated()) throw InputError("detector: calibrate() must come before p-values");
    const auto below = std::lower_bound(reference_.begin(), reference_.end(), score) - reference_.begin();
    return 1 - static_cast<double>(below) / static_cast<double>(reference_.size() + 1);
}

std::unique_ptr<Detector> make_detector(const DetectorSettings& settings) {
    switch (settings.kind) {
        case DetectorKind::mahalanobis:
            return make_mahalanobis();
        case DetectorKind::relative_mahalanobis:
        case DetectorKind::contrastive_mahalanobis:
            return make_difference_of_mahalanobis();
        case DetectorKind::knn:
            return make_knn(settings);
        case DetectorKind::lof:
            return make_lof(settings);
        case DetectorKind::isolation_forest:
            return make_isolation_forest(settings);
        case DetectorKind::pca_residual:
            return make_pca_residual(settings);
        case DetectorKind::ecod:
            return make_ecod();
    }
    throw InputError("detector: unknown kind");
}

}  // namespace savepoint
