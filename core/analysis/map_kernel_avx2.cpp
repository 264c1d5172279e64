#include <immintrin.h>

#include "core/analysis/map_kernels.h"

#include "core/analysis/map_kernel_points.h"

namespace savepoint {

namespace {

constexpr const char* kName = "AVX2";

struct V8 {
    __m256 v;
};

inline V8 zero() { return {_mm256_setzero_ps()}; }
inline V8 set1(float x) { return {_mm256_set1_ps(x)}; }
inline V8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, V8 a) { _mm256_storeu_ps(p, a.v); }
inline V8 add(V8 a, V8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline V8 sub(V8 a, V8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline V8 mul(V8 a, V8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline V8 div(V8 a, V8 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline V8 fma(V8 a, V8 b, V8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline V8 min(V8 a, V8 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline V8 max(V8 a, V8 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline V8 floor(V8 a) { return {_mm256_floor_ps(a.v)}; }
inline V8 round(V8 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

inline unsigned below(V8 a, V8 b) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)));
}

inline V8 keep_positive(V8 a, V8 b) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_GT_OQ), b.v)};
}

inline float sum(V8 a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline V8 power_of_two(V8 n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}

inline V8 exponent(V8 x) {
    const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(x.v), 23);
    return {_mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)))};
}

inline V8 mantissa(V8 x) {
    const __m256 fraction = _mm256_and_ps(x.v, _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff)));
    return {_mm256_or_ps(fraction, _mm256_set1_ps(1.0f))};
}

inline __m256 four_words(const float* points, int64_t stride, int32_t a, int32_t b, int32_t c, int32_t d) {
    const auto word = [&](int32_t id) { return static_cast<long long>(load_word(points + id * stride)); };
    return _mm256_castsi256_ps(_mm256_set_epi64x(word(d), word(c), word(b), word(a)));
}

// Even and odd floats of eight pairs, in the pairs' order.
inline void split_pairs(const float* points, int64_t stride, const int32_t* ids, V8& even, V8& odd) {
    const __m256 left = four_words(points, stride, ids[0], ids[1], ids[4], ids[5]);
    const __m256 right = four_words(points, stride, ids[2], ids[3], ids[6], ids[7]);
    even = {_mm256_shuffle_ps(left, right, 0x88)};
    odd = {_mm256_shuffle_ps(left, right, 0xdd)};
}

inline void gather_2d(const float* points, const int32_t* ids, V8& x, V8& y) {
    split_pairs(points, kStride<2>, ids, x, y);
}

inline void gather_3d(const float* points, const int32_t* ids, V8& x, V8& y, V8& z) {
    V8 unused;
    split_pairs(points, kStride<3>, ids, x, y);
    split_pairs(points + 2, kStride<3>, ids, z, unused);
}

}  // namespace

#include "core/analysis/map_kernel_body.h"

const MapKernels* avx2_map_kernels() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernels : nullptr;
}

}  // namespace savepoint
