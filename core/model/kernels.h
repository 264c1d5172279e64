#pragma once

// The arithmetic of one decode step. Three implementations of the same loops (kernel_body.h): portable,
// AVX2 + FMA, AVX-512; the best one that the processor has is chosen at run time. The two with FMA give
// the same bits, since a row or a head is always summed in the same order, 16 lanes wide.
// No standard headers with inline functions here: a copy of such a function, compiled for AVX-512, could
// be the one that the linker keeps for everybody.
#include <stdint.h>

namespace savepoint {

// A vector x of n elements (a multiple of 32), prepared once for all rows that are multiplied by it:
//   plain [n]; scaled [n]: x[i] / 16^(i % 8), but x[i] itself where i % 8 == 7, so that a nibble can be
//   used where it stands in its word, without a shift; block_sums [n / 32]: the sums of 32 elements.
struct Kernels {
    const char* name;
    void (*prepare)(const float* x, int64_t n, float* scaled, float* block_sums);

    // y[16 g ...] = rows of group g times x, for g in [first, last); rows beyond `rows` are not written.
    // Q4_1: w = d q + m, so that y = sum over blocks of d dot(q, x) + m sum(x). Q8_0: w = d q.
    void (*gemv_q4_1)(const uint8_t* blocks, int64_t first, int64_t last, int64_t rows, int64_t columns,
                      const float* scaled, const float* block_sums, float* y);
    void (*gemv_q8_0)(const uint8_t* blocks, int64_t first, int64_t last, int64_t rows, int64_t columns, const float* x,
                      float* y);
    void (*gemv_f32)(const float* matrix, int64_t first, int64_t last, int64_t rows, int64_t columns, const float* x,
                     float* y);

    // out = x / sqrt(mean(x^2) + eps) * weight; n a multiple of 16.
    void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
    // gate = silu(gate) * up, or gelu(gate) * up by its tanh form, for n elements, a multiple of 16.
    void (*swiglu)(float* gate, const float* up, int64_t n);
    void (*geglu)(float* gate, const float* up, int64_t n);

    // out[t] = sum over i in [begins[t], begins[t + 1]), in this order, of values[i] times row rows[i] of a panel
    // [.., panel_columns], for t in [0, count); outs `stride` floats apart.
    void (*sparse_times_panel)(const float* panel, const int64_t* begins, const int32_t* rows, const float* values,
                               int64_t count, float* out, int64_t stride);

    // One head's query against `count` (<= attention_chunk) cached keys: partial = {max of the scores,
    // sum of exp(score - max), sum of exp(score - max) v [head_dim]}; head_dim a multiple of 16.
    void (*attend)(const float* q, const float* k, const float* v, int64_t count, int64_t head_dim, float scale,
                   float* partial);
    // z [head_dim] from the partials of `chunks` chunks, `stride` floats apart.
    void (*combine)(const float* partials, int64_t chunks, int64_t stride, int64_t head_dim, float* z);
};

constexpr int64_t attention_chunk = 64;
constexpr int64_t panel_columns = 64;

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null when the build or the processor has none
const Kernels* avx512_kernels();  // likewise
const Kernels& best_kernels();

// Rotary embedding of one head: (x[i], x[i + half]) turned by the angle of i. The one formula for every
// path, compiled without fused multiplication, so that a restored key equals the live one bit for bit.
void rotate_head(const float* x, const float* cosines, const float* sines, int64_t head_dim, float* out);

}  // namespace savepoint
