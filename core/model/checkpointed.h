#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace savepoint {

// f(inputs), whose intermediate values are not kept for the backward pass but computed again in it (gradient
// checkpointing, Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): memory for time, the same
// gradients bit for bit. f must give the same for the same inputs, and must not change them. An undefined input stays
// undefined.
using TensorFunction = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;
at::Tensor checkpointed(const TensorFunction& f, const std::vector<at::Tensor>& inputs);

}  // namespace savepoint
