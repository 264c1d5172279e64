#pragma once

#include <cstdint>
#include <string>

#include "core/model/weights.h"

namespace savepoint {

// A vector ready to be multiplied by any matrix: see Kernels.
struct PreparedVector {
    const float* plain = nullptr;
    const float* scaled = nullptr;
    const float* block_sums = nullptr;
};

// A matrix of a decode step: the packed blocks when there are any, else float32 rows.
struct GemvMatrix {
    int64_t rows = 0, columns = 0;
    int type = 0;                     // ggml's type id of `blocks`
    const uint8_t* blocks = nullptr;  // of a PackedMatrix
    const float* dense = nullptr;     // row-major

    int64_t groups() const { return (rows + 15) / 16; }
};

// Whether a matrix of this ggml type is streamed as packed blocks (Q4_1, Q8_0, and Q5_0, whose weights are those of a
// Q8_0 block exactly). Of others the decode step streams the float32 rows.
bool gemv_streams(int type);
bool gemv_has_minima(int type);  // Q4_1
// The blocks of `rows` (ggml's layout, row by row), rearranged in groups of 16 rows; the result's type is Q4_1 or Q8_0:
//   for each group, for each 32 columns:  scale [16] f16,  Q4_1 only: minimum [16] f16,
//     Q4_1: word [4][16] u32, where word w of a row holds its columns 8w .. 8w + 7, lowest bits first
//     Q8_0: weight [32][16] i8
// Rows beyond the matrix in its last group are zero.
PackedMatrix pack_for_gemv(int type, const char* rows, int64_t row_count, int64_t columns);

GemvMatrix gemv_matrix(const Weights& weights, const std::string& name);

}  // namespace savepoint
