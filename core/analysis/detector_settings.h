#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

// What scores mean, with d the row's columns; nothing here assumes that normal rows outnumber columns.
//   mahalanobis              sqrt((x - m)^T C^-1 (x - m)), C with Ledoit-Wolf shrinkage (2004); scikit-learn's
//   LedoitWolf relative_mahalanobis     squared Mahalanobis distance from normal less that from a background (Ren et
//   al. 2021,
//                            arXiv 2106.09022; here with one class, and a covariance for each of the two sets)
//   contrastive_mahalanobis  squared Mahalanobis distance from normal less that from known-bad rows
//   knn                      Euclidean distance to the k-th nearest normal row; PyOD's KNN(method="largest")
//   lof                      Local Outlier Factor (Breunig et al. 2000) of a new row; scikit-learn's novelty=True
//   isolation_forest         2^(-E[path] / c(sample)) (Liu, Ting, Zhou 2008), as scikit-learn's -score_samples
//   pca_residual             distance from the span of the first principal components of normal rows
//   ecod                     empirical cumulative distributions, column by column (Li et al. 2022, arXiv 2201.00382);
//                            PyOD's ECOD.decision_function of each row alone
enum class DetectorKind {
    mahalanobis,
    relative_mahalanobis,
    contrastive_mahalanobis,
    knn,
    lof,
    isolation_forest,
    pca_residual,
    ecod
};
std::string to_string(DetectorKind kind);
DetectorKind detector_from(const std::string& name);  // throws InputError that lists the names
const std::vector<DetectorKind>& all_detectors();
bool needs_other(DetectorKind kind);  // a second set of rows to be fitted

struct DetectorSettings {
    DetectorKind kind = DetectorKind::mahalanobis;
    int64_t knn_neighbors = 5;   // fewer where there are fewer normal rows
    int64_t lof_neighbors = 20;  // likewise
    double pca_variance = 0.9;   // pca_residual keeps the fewest components that explain more than this
    int64_t trees = 100;
    int64_t tree_samples = 256;  // normal rows that each tree sees
    uint64_t seed = 1;           // of the trees
};

}  // namespace savepoint
