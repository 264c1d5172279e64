// Included by each map_kernel_*.cpp: points of the layout, read and written while other threads may move them.
// Each half of a point is one relaxed atomic access of 64 bits: a plain move, and no torn coordinates.

namespace {

typedef uint64_t __attribute__((may_alias)) PointWord;

inline uint64_t load_word(const float* p) {
    return __atomic_load_n(reinterpret_cast<const PointWord*>(p), __ATOMIC_RELAXED);
}

inline void store_word(float* p, const float* from) {
    __atomic_store_n(reinterpret_cast<PointWord*>(p), *reinterpret_cast<const PointWord*>(from), __ATOMIC_RELAXED);
}

template <int D>
constexpr int64_t kStride = D == 2 ? 2 : 4;

template <int D>
inline void load_point(const float* points, int64_t i, float* to) {
    const float* p = points + i * kStride<D>;
    *reinterpret_cast<PointWord*>(to) = load_word(p);
    if constexpr (D == 3) *reinterpret_cast<PointWord*>(to + 2) = load_word(p + 2);
}

template <int D>
inline void store_point(float* points, int64_t i, const float* from) {
    store_word(points + i * kStride<D>, from);
    if constexpr (D == 3) store_word(points + i * kStride<D> + 2, from + 2);
}

}  // namespace
