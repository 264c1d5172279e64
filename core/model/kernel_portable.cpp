#include <math.h>
#include <string.h>

#include "core/model/kernels.h"

namespace savepoint {

namespace {

constexpr const char* kName = "portable";

struct V16 {
    float v[16];
};
struct W16 {
    uint32_t v[16];
};

template <typename F>
inline V16 each(F f) {
    V16 result;
    for (int i = 0; i < 16; ++i) result.v[i] = f(i);
    return result;
}

inline V16 zero() { return {}; }
inline V16 set1(float x) {
    return each([=](int) { return x; });
}
inline V16 load(const float* p) {
    V16 a;
    memcpy(a.v, p, sizeof a.v);
    return a;
}
inline void store(float* p, V16 a) { memcpy(p, a.v, sizeof a.v); }
inline V16 add(V16 a, V16 b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline V16 sub(V16 a, V16 b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline V16 mul(V16 a, V16 b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline V16 div(V16 a, V16 b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
}
inline V16 max(V16 a, V16 b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline V16 fma(V16 a, V16 b, V16 c) {
    return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline V16 round(V16 a) {
    return each([&](int i) { return rintf(a.v[i]); });
}
inline V16 power_of_two(V16 n) {
    return each([&](int i) { return ldexpf(1.0f, static_cast<int>(n.v[i])); });
}

inline float half_to_float(uint16_t half) {
    const uint32_t sign = (half & 0x8000u) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * static_cast<float>(mantissa) * 0x1p-24f;
    const uint32_t bits =
        exponent == 31 ? sign | 0x7f800000u | mantissa << 13 : sign | (exponent + 112) << 23 | mantissa << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline V16 load_f16(const uint8_t* p) {
    uint16_t halves[16];
    memcpy(halves, p, sizeof halves);
    return each([&](int i) { return half_to_float(halves[i]); });
}

inline V16 load_i8(const uint8_t* p) {
    return each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}

inline W16 load_words(const uint8_t* p) {
    W16 w;
    memcpy(w.v, p, sizeof w.v);
    return w;
}

template <int K>
inline V16 nibble(W16 w) {
    if constexpr (K == 7) return each([&](int i) { return static_cast<float>(w.v[i] >> 28); });
    return each([&](int i) { return static_cast<float>(w.v[i] & (15u << (4 * K))); });
}

inline float sum(V16 a) {
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; ++i) a.v[i] += a.v[i + width];
    return a.v[0];
}

inline float maximum(V16 a) {
    float top = a.v[0];
    for (int i = 1; i < 16; ++i) top = a.v[i] > top ? a.v[i] : top;
    return top;
}

}  // namespace

#include "core/model/kernel_body.h"

const Kernels* portable_kernels() { return &kKernels; }

const Kernels& best_kernels() {
    if (const Kernels* kernels = avx512_kernels()) return *kernels;
    if (const Kernels* kernels = avx2_kernels()) return *kernels;
    return *portable_kernels();
}

void rotate_head(const float* x, const float* cosines, const float* sines, int64_t head_dim, float* out) {
    const int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; ++i) {
        const float a = x[i], b = x[i + half];
        out[i] = a * cosines[i] - b * sines[i];
        out[i + half] = b * cosines[i] + a * sines[i];
    }
}

}  // namespace savepoint
