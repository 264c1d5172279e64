// Included by each map_kernel_*.cpp after it has defined V8 (8 floats) and its operations:
//   zero, set1, load, store, add, sub, mul, div, fma (a b + c), min, max, sum, below (bit i: a[i] < b[i]),
//   keep_positive(a, b): b where a > 0, else 0; floor, round, power_of_two (2^n of whole numbers n),
//   exponent(x) and mantissa(x) of x = mantissa 2^exponent with a mantissa in [1, 2),
//   gather_2d, gather_3d: coordinates of eight points

namespace {

constexpr int64_t kLanes = 8;

// -- distances --------------------------------------------------------------------------------------------

void by_product(const float* const* queries, const float* query_norms, const float* points, const float* point_norms,
                int64_t panels, int64_t columns, float* out, int64_t out_stride) {
    for (int64_t panel = 0; panel < panels; ++panel, points += columns * map_panel) {
        V8 low[map_tile], high[map_tile];
        for (int q = 0; q < map_tile; ++q) low[q] = high[q] = zero();
        for (int64_t c = 0; c < columns; ++c) {
            const V8 left = load(points + c * map_panel), right = load(points + c * map_panel + kLanes);
            for (int q = 0; q < map_tile; ++q) {
                const V8 x = set1(queries[q][c]);
                low[q] = fma(x, left, low[q]);
                high[q] = fma(x, right, high[q]);
            }
        }
        const float* norms = point_norms + panel * map_panel;
        for (int q = 0; q < map_tile; ++q) {
            float* to = out + q * out_stride + panel * map_panel;
            const V8 own = set1(query_norms[q]), minus_two = set1(-2.0f);
            store(to, max(fma(minus_two, low[q], add(own, load(norms))), zero()));
            store(to + kLanes, max(fma(minus_two, high[q], add(own, load(norms + kLanes))), zero()));
        }
    }
}

void by_difference(const float* const* queries, const float* points, int64_t panels, int64_t columns, float* out,
                   int64_t out_stride) {
    for (int64_t panel = 0; panel < panels; ++panel, points += columns * map_panel) {
        for (int q = 0; q < map_tile; ++q) {
            V8 low = zero(), high = zero();
            for (int64_t c = 0; c < columns; ++c) {
                const V8 x = set1(queries[q][c]);
                const V8 left = sub(load(points + c * map_panel), x);
                const V8 right = sub(load(points + c * map_panel + kLanes), x);
                low = fma(left, left, low);
                high = fma(right, right, high);
            }
            store(out + q * out_stride + panel * map_panel, low);
            store(out + q * out_stride + panel * map_panel + kLanes, high);
        }
    }
}

float squared_distance(const float* a, const float* b, int64_t columns) {
    V8 total = zero();
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) {
        const V8 difference = sub(load(a + i), load(b + i));
        total = fma(difference, difference, total);
    }
    float result = sum(total);
    for (; i < columns; ++i) result += (a[i] - b[i]) * (a[i] - b[i]);
    return result;
}

int64_t find_below(const float* values, int64_t count, float limit, int32_t* out) {
    const V8 most = set1(limit);
    int64_t found = 0, i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (unsigned hits = below(load(values + i), most); hits; hits &= hits - 1)
            out[found++] = static_cast<int32_t>(i + __builtin_ctz(hits));
    for (; i < count; ++i)
        if (values[i] < limit) out[found++] = static_cast<int32_t>(i);
    return found;
}

int64_t count_below(const float* values, int64_t count, float limit) {
    const V8 most = set1(limit);
    int64_t found = 0, i = 0;
    for (; i + kLanes <= count; i += kLanes) found += __builtin_popcount(below(load(values + i), most));
    for (; i < count; ++i) found += values[i] < limit;
    return found;
}

// -- spectral start -----------------------------------------------------------------------------------------

void apply_sparse(const int64_t* row_begin, const int32_t* column, const float* value, int64_t first, int64_t last,
                  float scale, float shift, const float* x, const float* minus, float* y) {
    static_assert(map_block == kLanes);
    for (int64_t row = first; row < last; ++row) {
        V8 total = zero();
        for (int64_t e = row_begin[row]; e < row_begin[row + 1]; ++e)
            total = fma(set1(value[e]), load(x + column[e] * map_block), total);
        total = sub(total, mul(set1(shift), load(x + row * map_block)));
        total = mul(set1(scale), total);
        store(y + row * map_block, minus ? sub(total, load(minus + row * map_block)) : total);
    }
}

// -- layout -------------------------------------------------------------------------------------------------

// Both within 1e-5: a gradient that is a hundred thousandth off changes no map.
inline V8 log2_of(V8 x) {
    const V8 t = sub(mantissa(x), set1(1.0f));
    V8 p = set1(-0.03459521120235302f);
    p = fma(p, t, set1(0.14643361481222233f));
    p = fma(p, t, set1(-0.30338966772765796f));
    p = fma(p, t, set1(0.46930168738349526f));
    p = fma(p, t, set1(-0.7204423704794011f));
    p = fma(p, t, set1(1.442683251951674f));
    return fma(p, t, exponent(x));
}

inline V8 exp2_of(V8 x) {
    x = max(min(x, set1(126.0f)), set1(-126.0f));
    const V8 n = round(x), f = sub(x, n);
    V8 p = set1(0.00967603709787742f);
    p = fma(p, f, set1(0.05592203564726302f));
    p = fma(p, f, set1(0.24022107355830324f));
    p = fma(p, f, set1(0.6931210339915467f));
    p = fma(p, f, set1(1.0000000754953493f));
    return mul(p, power_of_two(n));
}

inline uint64_t mix(uint64_t x) {  // splitmix64's finaliser
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// Random numbers of one head in one epoch: a function of (seed, epoch, key) alone.
struct Draws {
    uint64_t state;
    uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

inline Draws draws_of(const LayoutPass& pass, int64_t head) {
    const uint64_t key = pass.keys ? pass.keys[head] : static_cast<uint64_t>(head);
    const uint64_t epoch = mix(pass.seed + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(pass.epoch + 1));
    return {mix(epoch ^ mix(key + 0x9e3779b97f4a7c15u)) | 1u};
}

// What the eight lanes of a step do, by where they stand in the repeating pattern (pull, push, ..., push):
// force = (power_part d^2b + constant_part) / ((offset + d^2) (1 + a d^2b)) times the difference, clipped.
struct Pattern {
    float power_part[map_negatives + 1 + kLanes], constant_part[map_negatives + 1 + kLanes],
        offset[map_negatives + 1 + kLanes];
};

inline Pattern pattern_of(const LayoutPass& pass) {
    Pattern pattern;
    for (int64_t i = 0; i < pass.negatives + 1 + kLanes; ++i) {
        const bool pulls = i % (pass.negatives + 1) == 0;
        pattern.power_part[i] = pulls ? -2 * pass.a * pass.b : 0.0f;
        pattern.constant_part[i] = pulls ? 0.0f : 2 * pass.repulsion * pass.b;
        pattern.offset[i] = pulls ? 0.0f : 0.001f;
    }
    return pattern;
}

// Where a point or a lane moves: x, y and, in three dimensions, z.
template <int D>
struct Place {
    V8 at[D];
};

template <int D>
inline Place<D> gather(const float* points, const int32_t* ids) {
    Place<D> place;
    if constexpr (D == 2)
        gather_2d(points, ids, place.at[0], place.at[1]);
    else
        gather_3d(points, ids, place.at[0], place.at[1], place.at[2]);
    return place;
}

constexpr float kLargestForce = 4.0f;

// What the eight forces on the head do to the points that pull it.
template <int D>
inline void move_pullers(const LayoutPass& pass, int64_t first_pull, const int32_t* ids, V8 lanes, const V8* moves) {
    float each[D][kLanes], there[kLanes];
    for (int d = 0; d < D; ++d) store(each[d], moves[d]);
    store(there, lanes);
    for (int64_t lane = first_pull; lane < kLanes && there[lane] > 0; lane += pass.negatives + 1) {
        alignas(8) float other[4];
        load_point<D>(pass.moving_others, ids[lane], other);
        for (int d = 0; d < D; ++d) other[d] -= pass.step * each[d][lane];
        store_point<D>(pass.moving_others, ids[lane], other);
    }
}

// Moves the head by the forces of eight lanes, all seen from where it stands.
template <int D>
inline void take_step(const LayoutPass& pass, const Pattern& pattern, int64_t phase, const int32_t* ids, V8 lanes,
                      float* head) {
    Place<D> away = gather<D>(pass.others, ids);
    V8 squared = zero();
    for (int d = 0; d < D; ++d) {
        away.at[d] = sub(set1(head[d]), away.at[d]);
        squared = fma(away.at[d], away.at[d], squared);
    }
    const V8 power = exp2_of(mul(set1(pass.b), log2_of(squared)));
    const V8 above = fma(load(pattern.power_part + phase), power, load(pattern.constant_part + phase));
    const V8 under = mul(add(load(pattern.offset + phase), squared), fma(set1(pass.a), power, set1(1.0f)));
    const V8 force = keep_positive(squared, div(above, under));
    V8 moves[D];
    for (int d = 0; d < D; ++d) {
        moves[d] = max(min(mul(force, away.at[d]), set1(kLargestForce)), set1(-kLargestForce));
        head[d] += pass.step * sum(mul(lanes, moves[d]));
    }
    if (pass.moving_others) move_pullers<D>(pass, phase == 0 ? 0 : pass.negatives + 1 - phase, ids, lanes, moves);
}

// An edge is drawn in epoch n when floor((n + 1) rate) > floor(n rate).
inline unsigned drawn(const LayoutPass& pass, int64_t edge) {
    const V8 rate = load(pass.rate + edge);
    const V8 before = floor(mul(rate, set1(static_cast<float>(pass.epoch))));
    const V8 after = floor(mul(rate, set1(static_cast<float>(pass.epoch + 1))));
    return below(before, after);
}

inline bool drawn_one(const LayoutPass& pass, int64_t edge) {
    const float before = pass.rate[edge] * static_cast<float>(pass.epoch),
                after = pass.rate[edge] * static_cast<float>(pass.epoch + 1);
    return __builtin_floorf(before) < __builtin_floorf(after);
}

constexpr int64_t kQueue = 512;

// Lanes of one head that wait to be taken, eight at a time.
template <int D>
struct Queue {
    const LayoutPass& pass;
    const Pattern& pattern;
    int64_t head_index;
    Draws draws;
    float* head;
    int64_t size = 0;
    int32_t ids[kQueue + kLanes];  // left as it is until it is filled

    Queue(const LayoutPass& p, const Pattern& forces, int64_t index, float* at)
        : pass(p), pattern(forces), head_index(index), draws(draws_of(p, index)), head(at) {}
    int32_t negative() {
        const auto choices = static_cast<uint64_t>(pass.other_count - pass.heads_are_others);
        auto id = static_cast<int32_t>(((draws.next() >> 32) * choices) >> 32);
        if (pass.heads_are_others) id += id >= head_index;
        return id;
    }
    void add_edge(int64_t edge) {
        if (size + pass.negatives + 1 > kQueue) empty();
        ids[size++] = pass.neighbour[edge];
        for (int i = 0; i < pass.negatives; ++i) ids[size++] = negative();
    }
    void empty() {
        static const float full[2 * kLanes] = {1, 1, 1, 1, 1, 1, 1, 1};
        for (int64_t i = 0; i < kLanes; ++i) ids[size + i] = 0;
        int64_t phase = 0;
        for (int64_t i = 0; i < size; i += kLanes) {
            const int64_t missing = size - i < kLanes ? kLanes - (size - i) : 0;
            take_step<D>(pass, pattern, phase, ids + i, load(full + missing), head);
            phase = (phase + kLanes) % (pass.negatives + 1);
        }
        size = 0;
    }
};

template <int D>
inline void move_point(const LayoutPass& pass, const Pattern& pattern, int64_t i) {
    alignas(8) float head[4];
    load_point<D>(pass.from, i, head);
    Queue<D> queue(pass, pattern, i, head);
    int64_t edge = pass.row_begin[i];
    const int64_t end = pass.row_begin[i + 1];
    for (; edge + kLanes <= end; edge += kLanes)
        for (unsigned hits = drawn(pass, edge); hits; hits &= hits - 1) queue.add_edge(edge + __builtin_ctz(hits));
    for (; edge < end; ++edge)
        if (drawn_one(pass, edge)) queue.add_edge(edge);
    queue.empty();
    store_point<D>(pass.to, i, head);
}

template <int D>
void move_points(const LayoutPass& pass, int64_t first, int64_t last) {
    const Pattern pattern = pattern_of(pass);
    for (int64_t i = first; i < last; ++i) move_point<D>(pass, pattern, i);
}

constexpr MapKernels kKernels = {kName,       by_product,   by_difference,  squared_distance, find_below,
                                 count_below, apply_sparse, move_points<2>, move_points<3>};

}  // namespace
