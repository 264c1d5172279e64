#pragma once

#include <ATen/core/Tensor.h>

namespace savepoint {

// y = x W^T of a frozen matrix: weight [out, in], x [.., in] -> [.., out].
// On the CPU, for more than a few float32 rows and without gradients, oneDNN multiplies by a copy of the weight laid out
// once in its blocks (made when first needed, as large as the weight): at::linear lays it out again at every call. Rows
// by that way differ from at::linear's in the last bits, and are bit for bit the same for the same shape.
// One thread at a time.
class Linear {
   public:
    Linear() = default;
    explicit Linear(at::Tensor weight);
    at::Tensor operator()(const at::Tensor& x) const;
    const at::Tensor& weight() const { return weight_; }

   private:
    at::Tensor weight_;
    mutable at::Tensor blocked_;
};

}  // namespace savepoint
