#include <math.h>
#include <string.h>

#include "core/analysis/map_kernels.h"

#include "core/analysis/map_kernel_points.h"

namespace savepoint {

namespace {

constexpr const char* kName = "portable";

struct V8 {
    float v[8];
};

template <typename F>
inline V8 each(F f) {
    V8 result;
    for (int i = 0; i < 8; ++i) result.v[i] = f(i);
    return result;
}

inline V8 zero() { return {}; }
inline V8 set1(float x) {
    return each([=](int) { return x; });
}
inline V8 load(const float* p) {
    V8 a;
    memcpy(a.v, p, sizeof a.v);
    return a;
}
inline void store(float* p, V8 a) { memcpy(p, a.v, sizeof a.v); }
inline V8 add(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline V8 sub(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline V8 mul(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline V8 div(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
}
inline V8 fma(V8 a, V8 b, V8 c) {
    return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline V8 min(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline V8 max(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline V8 floor(V8 a) {
    return each([&](int i) { return floorf(a.v[i]); });
}
inline V8 round(V8 a) {
    return each([&](int i) { return rintf(a.v[i]); });
}
inline V8 keep_positive(V8 a, V8 b) {
    return each([&](int i) { return a.v[i] > 0 ? b.v[i] : 0.0f; });
}

inline unsigned below(V8 a, V8 b) {
    unsigned bits = 0;
    for (int i = 0; i < 8; ++i) bits |= static_cast<unsigned>(a.v[i] < b.v[i]) << i;
    return bits;
}

inline float sum(V8 a) {
    float four[4];
    for (int i = 0; i < 4; ++i) four[i] = a.v[i] + a.v[i + 4];
    return four[0] + four[2] + (four[1] + four[3]);
}

inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline V8 power_of_two(V8 n) {
    return each([&](int i) { return from_bits(static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23); });
}

inline V8 exponent(V8 x) {
    return each([&](int i) { return static_cast<float>(static_cast<int32_t>(bits_of(x.v[i]) >> 23) - 127); });
}

inline V8 mantissa(V8 x) {
    return each([&](int i) { return from_bits((bits_of(x.v[i]) & 0x007fffffu) | 0x3f800000u); });
}

inline void gather_2d(const float* points, const int32_t* ids, V8& x, V8& y) {
    for (int i = 0; i < 8; ++i) {
        alignas(8) float point[2];
        load_point<2>(points, ids[i], point);
        x.v[i] = point[0];
        y.v[i] = point[1];
    }
}

inline void gather_3d(const float* points, const int32_t* ids, V8& x, V8& y, V8& z) {
    for (int i = 0; i < 8; ++i) {
        alignas(8) float point[4];
        load_point<3>(points, ids[i], point);
        x.v[i] = point[0];
        y.v[i] = point[1];
        z.v[i] = point[2];
    }
}

}  // namespace

#include "core/analysis/map_kernel_body.h"

const MapKernels* portable_map_kernels() { return &kKernels; }

const MapKernels& map_kernels() {
    const MapKernels* fast = avx2_map_kernels();
    return fast ? *fast : kKernels;
}

}  // namespace savepoint
