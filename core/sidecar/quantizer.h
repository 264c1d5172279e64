#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace savepoint {

// A uniform grid of 2^bits values over [low, high] for each column; bits 0: no grid, float32.
// round() and unpack(pack()) give the same float32 values, bit for bit. A value outside is clamped.
class Quantizer {
   public:
    Quantizer() = default;
    // low, high: [columns] float32. Throws InputError when bits is not 0 or 2..8, or a bound is not finite or crossed.
    Quantizer(int bits, at::Tensor low, at::Tensor high);

    int bits() const { return bits_; }
    int64_t columns() const { return low_.size(0); }
    const at::Tensor& low() const { return low_; }
    const at::Tensor& high() const { return high_; }
    int64_t row_bytes() const;  // a row begins at a whole byte, so that any token can be read alone

    at::Tensor round(const at::Tensor& z) const;  // [.., columns]
    std::string pack(const at::Tensor& z) const;  // [tokens, columns]; throws InputError when not finite
    at::Tensor unpack(const std::string& bytes, int64_t tokens) const;  // throws InputError on a wrong size

   private:
    at::Tensor codes(const at::Tensor& z) const;
    at::Tensor values(const at::Tensor& codes) const;

    int bits_ = 0;
    at::Tensor low_, high_, step_;
};

// Throws InputError naming `what` when a value is NaN or infinite.
void require_finite(const at::Tensor& values, const char* what);

}  // namespace savepoint
