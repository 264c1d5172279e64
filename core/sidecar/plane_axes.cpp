#include "core/sidecar/plane_axes.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"

namespace savepoint {

at::Tensor PlaneAxes::project(const at::Tensor& rows) const {
    return at::bmm((rows - mean).transpose(0, 1), basis.transpose(1, 2)).transpose(0, 1).contiguous();
}

at::Tensor PlaneAxes::lift(const at::Tensor& z) const {
    return at::bmm(z.transpose(0, 1), basis).transpose(0, 1) + mean;
}

PlaneAxes PlaneAxes::leading(int64_t components) const {
    return {basis.slice(1, 0, components).contiguous(), mean, total};
}

void save_axes(const PlaneAxes& axes, Plane plane, TensorFile& file) {
    file.tensors[to_string(plane) + ".basis"] = axes.basis;
    file.tensors[to_string(plane) + ".mean"] = axes.mean;
    file.tensors[to_string(plane) + ".total"] = axes.total;
}

PlaneAxes load_axes(const TensorFields& fields, Plane plane, const StateShape& shape) {
    const std::string name = to_string(plane);
    const int64_t width = width_of(shape, plane);
    const at::Tensor basis = fields.tensor(name + ".basis", {shape.layers, -1, width});
    if (basis.size(1) > width) fields.refuse(name + ".basis", "has more axes than dimensions");
    return {basis, fields.tensor(name + ".mean", {shape.layers, width}),
            fields.tensor(name + ".total", {shape.layers})};
}

void PlaneMoments::add(const at::Tensor& rows) {
    if (rows.size(0) == 0) return;
    if (!shift_.defined()) {
        shift_ = rows.mean(0);
        sum_ = at::zeros(shift_.sizes(), at::kDouble);
        products_ = at::zeros({rows.size(1), rows.size(2), rows.size(2)}, at::kDouble);
    }
    const at::Tensor x = (rows - shift_).transpose(0, 1).contiguous();
    sum_.add_(x.sum(1, /*keepdim=*/false, at::kDouble));
    products_.add_(at::bmm(x.transpose(1, 2), x));
    tokens_ += rows.size(0);
}

at::Tensor PlaneMoments::mean() const { return shift_.to(at::kDouble) + sum_ / static_cast<double>(tokens_); }

at::Tensor PlaneMoments::covariance() const {
    const at::Tensor mean = sum_ / static_cast<double>(tokens_);
    return products_ / static_cast<double>(tokens_) - mean.unsqueeze(2) * mean.unsqueeze(1);
}

PlaneAxes PlaneMoments::axes(int64_t components) const {
    if (tokens_ == 0) throw InputError("fit: no tokens were added");
    const EigenBases bases = leading_components_of_each(covariance(), components);
    return {bases.vectors.to(at::kFloat).contiguous(), mean().to(at::kFloat), bases.totals.to(at::kFloat)};
}

int64_t reduced(int64_t width, int64_t reduction) { return std::max<int64_t>(1, width / reduction); }

void check_rates(const std::vector<int64_t>& reductions, const std::vector<ValueFormat>& formats) {
    if (reductions.empty()) throw InputError("reductions: name at least one");
    for (const int64_t reduction : reductions)
        if (reduction < 1) throw InputError("reduction: " + std::to_string(reduction) + "; 1 or more");
    check_formats(formats);
}

}  // namespace savepoint
