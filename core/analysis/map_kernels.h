#pragma once

// The arithmetic of nearest neighbours and of UMAP: one body (map_kernel_body.h), compiled portably and for AVX2
// with FMA; the best one that the processor has is chosen at run time.
// No standard headers with inline functions here: a copy of such a function, compiled for AVX2, could be the one
// that the linker keeps for everybody.
#include <stdint.h>

namespace savepoint {

constexpr int64_t map_panel = 16;  // points that lie together, coordinate by coordinate: [panels, columns, 16]
constexpr int64_t map_tile = 6;    // queries that are taken together
constexpr int64_t map_block = 8;   // vectors of a block that a sparse matrix is applied to
constexpr int map_negatives = 32;  // most negative samples per edge

// One sweep over the edges of the layout: those that are due in this epoch pull their heads, with so many negative
// samples each, which push. Points lie `stride` floats apart: 2 in two dimensions, 4 in three.
struct LayoutPass {
    const float* others;  // what heads are pulled to and pushed away from
    int64_t other_count;
    float* moving_others;      // `others` where an edge moves its other end as well; else null
    bool heads_are_others;     // head i is other i: it is never its own negative sample
    const float* from;         // heads before
    float* to;                 // heads after; may be `from`, and `others`
    const int64_t* row_begin;  // [heads + 1] edges of head i: row_begin[i] .. row_begin[i + 1]
    const int32_t* neighbour;  // [edges] its other end
    const float* rate;         // [edges] how often it is drawn per epoch, 0 .. 1
    const uint64_t* keys;      // [heads] of the random numbers; null: the head's index
    int64_t epoch;
    float step;  // learning rate of this epoch
    float a, b, repulsion;
    int negatives;  // 0: edges pull, nothing pushes
    uint64_t seed;
};

struct MapKernels {
    const char* name;
    // Squared Euclidean distances of `map_tile` queries (rows of `columns` floats; a row may be given twice) from
    // the points of `panels` panels: out[q][i], rows `out_stride` apart. Norms are squared lengths.
    // by_product: |p|^2 + |q|^2 - 2 p q, no less than 0; by_difference: the sum of (p - q)^2, for few columns.
    void (*by_product)(const float* const* queries, const float* query_norms, const float* points,
                       const float* point_norms, int64_t panels, int64_t columns, float* out, int64_t out_stride);
    void (*by_difference)(const float* const* queries, const float* points, int64_t panels, int64_t columns, float* out,
                          int64_t out_stride);
    float (*squared_distance)(const float* a, const float* b, int64_t columns);
    // Writes the indices of values below the limit to `out`, in order; returns how many.
    int64_t (*find_below)(const float* values, int64_t count, float limit, int32_t* out);
    int64_t (*count_below)(const float* values, int64_t count, float limit);

    // Rows first .. last of y = scale (A x - shift x) - minus, A sparse and symmetric; x, y, minus [rows, map_block].
    void (*apply_sparse)(const int64_t* row_begin, const int32_t* column, const float* value, int64_t first,
                         int64_t last, float scale, float shift, const float* x, const float* minus, float* y);

    void (*move_points_2d)(const LayoutPass& pass, int64_t first, int64_t last);
    void (*move_points_3d)(const LayoutPass& pass, int64_t first, int64_t last);
};

const MapKernels* portable_map_kernels();
const MapKernels* avx2_map_kernels();  // null when the build or the processor has none
const MapKernels& map_kernels();       // the best

}  // namespace savepoint
