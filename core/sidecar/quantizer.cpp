#include "core/sidecar/quantizer.h"

#include <ATen/ATen.h>

#include <cstring>

#include "core/model/error.h"

namespace savepoint {

namespace {

// Least significant bit first, as a stream of `bits`-wide codes.
void pack_row(const uint8_t* codes, int64_t count, int bits, uint8_t* out) {
    uint32_t pending = 0;
    int held = 0;
    for (int64_t i = 0; i < count; ++i) {
        pending |= static_cast<uint32_t>(codes[i]) << held;
        for (held += bits; held >= 8; held -= 8, pending >>= 8) *out++ = static_cast<uint8_t>(pending);
    }
    if (held > 0) *out = static_cast<uint8_t>(pending);
}

void unpack_row(const uint8_t* in, int64_t count, int bits, uint8_t* codes) {
    const uint32_t mask = (1u << bits) - 1;
    uint32_t pending = 0;
    int held = 0;
    for (int64_t i = 0; i < count; ++i) {
        if (held < bits) {
            pending |= static_cast<uint32_t>(*in++) << held;
            held += 8;
        }
        codes[i] = static_cast<uint8_t>(pending & mask);
        pending >>= bits;
        held -= bits;
    }
}

}  // namespace

void require_finite(const at::Tensor& values, const char* what) {
    // A sum is not finite when any term is NaN or infinite, and needs no mask in memory; a finite tensor
    // whose sum overflows is looked at again.
    if (std::isfinite(values.sum(at::kDouble).item<double>())) return;
    if (!at::isfinite(values).all().item<bool>()) {
        throw InputError(std::string(what) + ": holds NaN or infinity; nothing was coded");
    }
}

Quantizer::Quantizer(int bits, at::Tensor low, at::Tensor high) : bits_(bits), low_(low), high_(high) {
    if (bits != 0 && (bits < 2 || bits > 8)) {
        throw InputError("bits: " + std::to_string(bits) + "; 2 to 8, or 0 for float32");
    }
    require_finite(low, "quantisation range");
    require_finite(high, "quantisation range");
    if (at::gt(low, high).any().item<bool>()) throw InputError("quantisation range: low is above high");
    // A component that never varied still needs a step to divide by.
    if (bits > 0) step_ = ((high - low) / static_cast<double>((1 << bits) - 1)).clamp_min(1e-30);
}

int64_t Quantizer::row_bytes() const { return bits_ == 0 ? columns() * 4 : (columns() * bits_ + 7) / 8; }

at::Tensor Quantizer::codes(const at::Tensor& z) const {
    return ((z - low_) / step_).round().clamp(0, (1 << bits_) - 1);
}

at::Tensor Quantizer::values(const at::Tensor& codes) const { return codes * step_ + low_; }

at::Tensor Quantizer::round(const at::Tensor& z) const { return bits_ == 0 ? z : values(codes(z)); }

std::string Quantizer::pack(const at::Tensor& z) const {
    require_finite(z, "latent");
    const int64_t tokens = z.size(0);
    std::string bytes(static_cast<size_t>(tokens * row_bytes()), '\0');
    if (bits_ == 0) {
        const at::Tensor raw = z.to(at::kFloat).contiguous();
        if (!bytes.empty()) std::memcpy(bytes.data(), raw.const_data_ptr<float>(), bytes.size());
        return bytes;
    }
    const at::Tensor grid = codes(z).to(at::kByte).contiguous();
    const uint8_t* from = grid.const_data_ptr<uint8_t>();
    auto* to = reinterpret_cast<uint8_t*>(bytes.data());
    for (int64_t t = 0; t < tokens; ++t) pack_row(from + t * columns(), columns(), bits_, to + t * row_bytes());
    return bytes;
}

at::Tensor Quantizer::unpack(const std::string& bytes, int64_t tokens) const {
    // Divided, not multiplied: the token count may come from a file.
    const auto size = static_cast<int64_t>(bytes.size());
    if (tokens < 0 || size % row_bytes() != 0 || size / row_bytes() != tokens) {
        throw InputError("packed latent: " + std::to_string(size) + " bytes do not hold " + std::to_string(tokens) +
                         " tokens of " + std::to_string(row_bytes()) + " bytes");
    }
    if (bits_ == 0) {
        at::Tensor raw = at::empty({tokens, columns()}, at::kFloat);
        if (!bytes.empty()) std::memcpy(raw.data_ptr<float>(), bytes.data(), bytes.size());
        require_finite(raw, "packed latent");
        return raw;
    }
    at::Tensor grid = at::empty({tokens, columns()}, at::kByte);
    uint8_t* to = grid.data_ptr<uint8_t>();
    const auto* from = reinterpret_cast<const uint8_t*>(bytes.data());
    for (int64_t t = 0; t < tokens; ++t) unpack_row(from + t * row_bytes(), columns(), bits_, to + t * columns());
    return values(grid.to(at::kFloat));
}

}  // namespace savepoint
