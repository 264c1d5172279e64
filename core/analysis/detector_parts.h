#pragma once

#include <memory>

#include "core/analysis/detector.h"

namespace savepoint {

// The detectors behind make_detector.
std::unique_ptr<Detector> make_mahalanobis();
std::unique_ptr<Detector> make_difference_of_mahalanobis();
std::unique_ptr<Detector> make_pca_residual(const DetectorSettings& settings);
std::unique_ptr<Detector> make_knn(const DetectorSettings& settings);
std::unique_ptr<Detector> make_lof(const DetectorSettings& settings);
std::unique_ptr<Detector> make_isolation_forest(const DetectorSettings& settings);
std::unique_ptr<Detector> make_ecod();

}  // namespace savepoint
