#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/sidecar/run_planes.h"
#include "core/sidecar/stored_values.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

// Axes of every layer of one plane: z = basis (x - mean), x^ = basis^T z + mean. float32.
struct PlaneAxes {
    at::Tensor basis;  // [layers, components, width], orthonormal rows
    at::Tensor mean;   // [layers, width]
    at::Tensor total;  // [layers]: variance of all dimensions of a layer

    int64_t components() const { return basis.size(1); }
    at::Tensor project(const at::Tensor& rows) const;  // [tokens, layers, width] -> [tokens, layers, components]
    at::Tensor lift(const at::Tensor& z) const;        // the way back
    PlaneAxes leading(int64_t components) const;
};
void save_axes(const PlaneAxes& axes, Plane plane, TensorFile& file);  // "key.basis", "key.mean", "key.total"
PlaneAxes load_axes(const TensorFields& fields, Plane plane, const StateShape& shape);  // throws FileError

// Mean and covariance of every layer's rows, streamed: products are float32 about the mean of the first rows seen, sums
// float64. Holds layers * width^2 numbers for each plane.
class PlaneMoments {
   public:
    void add(const at::Tensor& rows);  // [tokens, layers, width]
    int64_t tokens() const { return tokens_; }
    at::Tensor mean() const;                   // [layers, width] float64
    at::Tensor covariance() const;             // [layers, width, width] float64
    PlaneAxes axes(int64_t components) const;  // principal axes; throws InputError when no tokens were added

   private:
    at::Tensor shift_, sum_, products_;
    int64_t tokens_ = 0;
};

// Dimensions that are left of a plane when it is made `reduction` times narrower: at least one.
int64_t reduced(int64_t width, int64_t reduction);
// At least one of each, and each one possible; throws InputError.
void check_rates(const std::vector<int64_t>& reductions, const std::vector<ValueFormat>& formats);

}  // namespace savepoint
