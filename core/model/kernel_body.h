// Included by each kernel_*.cpp after it has defined V16 (16 floats), W16 (16 words) and their operations:
//   V16: zero, set1, load, store, load_f16, load_i8, add, sub, mul, fma (a b + c), max, div, sum, maximum,
//        power_of_two (2^n of whole numbers n), round
//   W16: load_words, nibble<K>(words): bits 4K .. 4K+3 as a float, times 16^K unless K is 7

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 32;
constexpr int64_t kQ41GroupBytes = 64 + 256;
constexpr int64_t kQ80GroupBytes = 32 + 512;

inline void store_rows(V16 value, float* y, int64_t first_row, int64_t rows) {
    if (first_row + kLanes <= rows) {
        store(y + first_row, value);
        return;
    }
    float lanes[kLanes];
    store(lanes, value);
    for (int64_t i = 0; first_row + i < rows; ++i) y[first_row + i] = lanes[i];
}

void prepare(const float* x, int64_t n, float* scaled, float* block_sums) {
    static const float factors[kLanes] = {1.0f, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 1.0f,
                                          1.0f, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 1.0f};
    const V16 factor = load(factors);
    for (int64_t i = 0; i < n; i += kBlock) {
        const V16 low = load(x + i), high = load(x + i + kLanes);
        store(scaled + i, mul(low, factor));
        store(scaled + i + kLanes, mul(high, factor));
        block_sums[i / kBlock] = sum(add(low, high));
    }
}

template <int K>
inline V16 nibble_step(W16 words, const float* x, V16 total) {
    return fma(nibble<K>(words), set1(x[K]), total);
}

inline V16 eight_columns(const uint8_t* words, const float* x, V16 total) {
    const W16 w = load_words(words);
    total = nibble_step<0>(w, x, total);
    total = nibble_step<1>(w, x, total);
    total = nibble_step<2>(w, x, total);
    total = nibble_step<3>(w, x, total);
    total = nibble_step<4>(w, x, total);
    total = nibble_step<5>(w, x, total);
    total = nibble_step<6>(w, x, total);
    return nibble_step<7>(w, x, total);
}

void gemv_q4_1(const uint8_t* blocks, int64_t first, int64_t last, int64_t rows, int64_t columns, const float* scaled,
               const float* block_sums, float* y) {
    const int64_t count = columns / kBlock;
    const uint8_t* at = blocks + first * count * kQ41GroupBytes;
    for (int64_t group = first; group < last; ++group) {
        V16 result = zero();
        for (int64_t b = 0; b < count; ++b, at += kQ41GroupBytes) {
            const float* x = scaled + b * kBlock;
            V16 even = eight_columns(at + 64, x, zero());
            V16 odd = eight_columns(at + 128, x + 8, zero());
            even = eight_columns(at + 192, x + 16, even);
            odd = eight_columns(at + 256, x + 24, odd);
            result = fma(load_f16(at), add(even, odd), result);
            result = fma(load_f16(at + 32), set1(block_sums[b]), result);
        }
        store_rows(result, y, group * kLanes, rows);
    }
}

void gemv_q8_0(const uint8_t* blocks, int64_t first, int64_t last, int64_t rows, int64_t columns, const float* x,
               float* y) {
    const int64_t count = columns / kBlock;
    const uint8_t* at = blocks + first * count * kQ80GroupBytes;
    for (int64_t group = first; group < last; ++group) {
        V16 result = zero();
        for (int64_t b = 0; b < count; ++b, at += kQ80GroupBytes) {
            V16 even = zero(), odd = zero();
            for (int64_t c = 0; c < kBlock; c += 2) {
                even = fma(load_i8(at + 32 + c * kLanes), set1(x[b * kBlock + c]), even);
                odd = fma(load_i8(at + 48 + c * kLanes), set1(x[b * kBlock + c + 1]), odd);
            }
            result = fma(load_f16(at), add(even, odd), result);
        }
        store_rows(result, y, group * kLanes, rows);
    }
}

inline float dot(const float* a, const float* b, int64_t n) {
    V16 even = zero(), odd = zero();
    int64_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        even = fma(load(a + i), load(b + i), even);
        odd = fma(load(a + i + kLanes), load(b + i + kLanes), odd);
    }
    for (; i + kLanes <= n; i += kLanes) even = fma(load(a + i), load(b + i), even);
    float total = sum(add(even, odd));
    for (; i < n; ++i) total += a[i] * b[i];
    return total;
}

void gemv_f32(const float* matrix, int64_t first, int64_t last, int64_t rows, int64_t columns, const float* x,
              float* y) {
    const int64_t end = last * kLanes < rows ? last * kLanes : rows;
    for (int64_t row = first * kLanes; row < end; ++row) y[row] = dot(matrix + row * columns, x, columns);
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
    const float mean = dot(x, x, n) / static_cast<float>(n);
    const V16 scale = set1(1.0f / __builtin_sqrtf(mean + eps));
    for (int64_t i = 0; i < n; i += kLanes) store(out + i, mul(load(weight + i), mul(load(x + i), scale)));
}

// exp(x) for x <= 88 within 2 units in the last place: x = n ln 2 + r, a polynomial for e^r (Cephes, expf).
inline V16 exponential(V16 x) {
    x = max(x, set1(-87.0f));
    const V16 n = round(mul(x, set1(1.44269504088896341f)));
    V16 r = fma(n, set1(-0.693359375f), x);
    r = fma(n, set1(2.12194440e-4f), r);
    V16 p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = add(fma(p, mul(r, r), r), set1(1.0f));
    return mul(p, power_of_two(n));
}

// x / (1 + exp(-a))
inline V16 times_sigmoid(V16 x, V16 a) {
    const V16 bounded = sub(zero(), max(a, set1(-87.0f)));  // min(-a, 87)
    return div(x, add(set1(1.0f), exponential(bounded)));
}

void swiglu(float* gate, const float* up, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const V16 g = load(gate + i);
        store(gate + i, mul(times_sigmoid(g, g), load(up + i)));
    }
}

// x / 2 (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
void geglu(float* gate, const float* up, int64_t n) {
    const V16 linear = set1(1.5957691216057308f), cubic = set1(0.071354816272600f);
    for (int64_t i = 0; i < n; i += kLanes) {
        const V16 g = load(gate + i);
        const V16 twice_u = mul(g, fma(cubic, mul(g, g), linear));
        store(gate + i, mul(times_sigmoid(g, twice_u), load(up + i)));
    }
}

// acc [head_dim] = sum of weights[j] v[j], 64 channels at a time so that they stay in registers.
template <int Vectors>
inline void weigh_values(const float* weights, const float* v, int64_t count, int64_t head_dim, float* acc) {
    V16 total[Vectors];
    for (int i = 0; i < Vectors; ++i) total[i] = zero();
    for (int64_t j = 0; j < count; ++j) {
        const V16 weight = set1(weights[j]);
        for (int i = 0; i < Vectors; ++i) total[i] = fma(weight, load(v + j * head_dim + i * kLanes), total[i]);
    }
    for (int i = 0; i < Vectors; ++i) store(acc + i * kLanes, total[i]);
}

void attend(const float* q, const float* k, const float* v, int64_t count, int64_t head_dim, float scale,
            float* partial) {
    alignas(64) float scores[attention_chunk];
    for (int64_t j = 0; j < count; ++j) scores[j] = dot(q, k + j * head_dim, head_dim) * scale;
    for (int64_t j = count; j % kLanes; ++j) scores[j] = -__builtin_inff();
    V16 highest = load(scores);
    for (int64_t j = kLanes; j < count; j += kLanes) highest = max(highest, load(scores + j));
    const float top = maximum(highest);
    V16 total = zero();
    for (int64_t j = 0; j < count; j += kLanes) {
        const V16 weight = exponential(sub(load(scores + j), set1(top)));
        store(scores + j, weight);
    }
    for (int64_t j = count; j % kLanes; ++j) scores[j] = 0;
    for (int64_t j = 0; j < count; j += kLanes) total = add(total, load(scores + j));
    partial[0] = top;
    partial[1] = sum(total);
    int64_t channel = 0;
    for (; channel + 64 <= head_dim; channel += 64)
        weigh_values<4>(scores, v + channel, count, head_dim, partial + 2 + channel);
    for (; channel < head_dim; channel += kLanes)
        weigh_values<1>(scores, v + channel, count, head_dim, partial + 2 + channel);
}

inline float exponential_of(float x) {
    float lanes[kLanes];
    store(lanes, exponential(set1(x)));
    return lanes[0];
}

void combine(const float* partials, int64_t chunks, int64_t stride, int64_t head_dim, float* z) {
    float top = partials[0];
    for (int64_t c = 1; c < chunks; ++c) top = partials[c * stride] > top ? partials[c * stride] : top;
    float total = 0;
    for (int64_t i = 0; i < head_dim; i += kLanes) store(z + i, zero());
    for (int64_t c = 0; c < chunks; ++c) {
        const float* partial = partials + c * stride;
        const float weight = exponential_of(partial[0] - top);
        total += weight * partial[1];
        for (int64_t i = 0; i < head_dim; i += kLanes)
            store(z + i, fma(set1(weight), load(partial + 2 + i), load(z + i)));
    }
    const V16 scale = set1(1.0f / total);
    for (int64_t i = 0; i < head_dim; i += kLanes) store(z + i, mul(load(z + i), scale));
}

void sparse_times_panel(const float* panel, const int64_t* begins, const int32_t* rows, const float* values,
                        int64_t count, float* out, int64_t stride) {
    for (int64_t t = 0; t < count; ++t, out += stride) {
        V16 a = zero(), b = zero(), c = zero(), d = zero();
        for (int64_t i = begins[t]; i < begins[t + 1]; ++i) {
            const float* row = panel + rows[i] * panel_columns;
            const V16 value = set1(values[i]);
            a = fma(value, load(row), a);
            b = fma(value, load(row + kLanes), b);
            c = fma(value, load(row + 2 * kLanes), c);
            d = fma(value, load(row + 3 * kLanes), d);
        }
        store(out, a);
        store(out + kLanes, b);
        store(out + 2 * kLanes, c);
        store(out + 3 * kLanes, d);
    }
}

constexpr Kernels kKernels = {kName,  prepare, gemv_q4_1,          gemv_q8_0, gemv_f32, rms_norm,
                              swiglu, geglu,   sparse_times_panel, attend,    combine};

}  // namespace
