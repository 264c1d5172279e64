#include <cmath>

#include "core/analysis/detector_parts.h"
#include "core/analysis/shrunk_gaussian.h"

namespace savepoint {

namespace {

std::vector<double> to_vector(const Eigen::VectorXd& x) { return {x.data(), x.data() + x.size()}; }

class Mahalanobis : public Detector {
    void fit_rows(const PointTable& normal, const PointTable&) override { normal_ = ShrunkGaussian(to_matrix(normal)); }
    std::vector<double> score_rows(const PointTable& rows) const override {
        return to_vector(normal_.squared_distances(to_matrix(rows)).cwiseSqrt());
    }
    ShrunkGaussian normal_;
};

class DifferenceOfMahalanobis : public Detector {
    bool needs_other() const override { return true; }
    void fit_rows(const PointTable& normal, const PointTable& other) override {
        normal_ = ShrunkGaussian(to_matrix(normal));
        other_ = ShrunkGaussian(to_matrix(other));
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        const RowMatrix x = to_matrix(rows);
        return to_vector(normal_.squared_distances(x) - other_.squared_distances(x));
    }
    ShrunkGaussian normal_, other_;
};

class PcaResidual : public Detector {
   public:
    explicit PcaResidual(double variance) : variance_(variance) {}

   private:
    void fit_rows(const PointTable& normal, const PointTable&) override {
        principal_ = principal_axes(to_matrix(normal));
        const double total = principal_.variance.sum();
        Eigen::Index kept = 0;
        for (double sum = 0; kept < principal_.variance.size() && sum <= variance_ * total; ++kept)
            sum += principal_.variance[kept];
        principal_.axes.conservativeResize(kept, Eigen::NoChange);
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        const RowMatrix centred = to_matrix(rows).rowwise() - principal_.mean;
        const RowMatrix along = centred * principal_.axes.transpose();
        return to_vector((centred - along * principal_.axes).rowwise().norm());
    }
    double variance_;
    PrincipalAxes principal_;
};

}  // namespace

std::unique_ptr<Detector> make_mahalanobis() { return std::make_unique<Mahalanobis>(); }
std::unique_ptr<Detector> make_difference_of_mahalanobis() { return std::make_unique<DifferenceOfMahalanobis>(); }
std::unique_ptr<Detector> make_pca_residual(const DetectorSettings& settings) {
    return std::make_unique<PcaResidual>(settings.pca_variance);
}

}  // namespace savepoint
