#include <immintrin.h>

#include "core/model/kernels.h"

namespace savepoint {

namespace {

constexpr const char* kName = "AVX2";

struct V16 {
    __m256 low, high;
};
struct W16 {
    __m256i low, high;
};

inline V16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline V16 set1(float x) {
    const __m256 v = _mm256_set1_ps(x);
    return {v, v};
}
inline V16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, V16 v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}
inline V16 add(V16 a, V16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline V16 sub(V16 a, V16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline V16 mul(V16 a, V16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline V16 div(V16 a, V16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline V16 max(V16 a, V16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline V16 fma(V16 a, V16 b, V16 c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

inline V16 load_f16(const uint8_t* p) {
    const __m128i* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}

inline V16 load_i8(const uint8_t* p) {
    const __m256i low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m256i high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)));
    return {_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)};
}

inline W16 load_words(const uint8_t* p) {
    const __m256i* words = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
}

template <int K>
inline V16 nibble(W16 w) {
    if constexpr (K == 7)
        return {_mm256_cvtepi32_ps(_mm256_srli_epi32(w.low, 28)), _mm256_cvtepi32_ps(_mm256_srli_epi32(w.high, 28))};
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(15u << (4 * K)));
    return {_mm256_cvtepi32_ps(_mm256_and_si256(w.low, mask)), _mm256_cvtepi32_ps(_mm256_and_si256(w.high, mask))};
}

// The order of _mm512_reduce_add_ps: halves, quarters, pairs.
inline float sum(V16 v) {
    const __m256 eight = _mm256_add_ps(v.low, v.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float maximum(V16 v) {
    const __m256 eight = _mm256_max_ps(v.low, v.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline __m256 round8(__m256 v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline V16 round(V16 v) { return {round8(v.low), round8(v.high)}; }

inline __m256 power8(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline V16 power_of_two(V16 n) { return {power8(n.low), power8(n.high)}; }

}  // namespace

#include "core/model/kernel_body.h"

const Kernels* avx2_kernels() {
    const bool have = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    return have ? &kKernels : nullptr;
}

}  // namespace savepoint
