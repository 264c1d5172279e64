#include "core/model/gemv.h"

#include <ATen/ops/zeros.h>
#include <ggml.h>

#include <cstring>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr int64_t kColumns = 32;  // of a block, in both types
constexpr int64_t kLanes = 16;

// ggml's block_q4_1: d, m, then byte j with column j in its low and column j + 16 in its high nibble.
void place_q4_1(const uint8_t* block, int64_t lane, uint8_t* group) {
    std::memcpy(group + 2 * lane, block, 2);
    std::memcpy(group + 2 * kLanes + 2 * lane, block + 2, 2);
    for (int64_t word = 0; word < 4; ++word) {
        uint32_t bits = 0;
        for (int64_t i = 0; i < 8; ++i) {
            const int64_t column = 8 * word + i;
            const uint32_t nibble = column < 16 ? block[4 + column] & 15u : block[4 + column - 16] >> 4;
            bits |= nibble << (4 * i);
        }
        std::memcpy(group + 64 + (word * kLanes + lane) * 4, &bits, 4);
    }
}

// ggml's block_q8_0: d, then 32 signed bytes.
void place_q8_0(const uint8_t* block, int64_t lane, uint8_t* group) {
    std::memcpy(group + 2 * lane, block, 2);
    for (int64_t column = 0; column < kColumns; ++column) group[32 + column * kLanes + lane] = block[2 + column];
}

// ggml's block_q5_0: d, the fifth bits of 32 columns, then nibbles as in Q4_1; 16 is zero.
void place_q5_0(const uint8_t* block, int64_t lane, uint8_t* group) {
    uint32_t fifth = 0;
    std::memcpy(&fifth, block + 2, 4);
    std::memcpy(group + 2 * lane, block, 2);
    for (int64_t column = 0; column < kColumns; ++column) {
        const uint32_t nibble = column < 16 ? block[6 + column] & 15u : block[6 + column - 16] >> 4;
        const auto weight = static_cast<int>(nibble | (fifth >> column & 1u) << 4) - 16;
        group[32 + column * kLanes + lane] = static_cast<uint8_t>(weight);
    }
}

// How a type is packed: as which, the bytes of its blocks in the file and in the result, and by what.
struct Packing {
    int type, packed_type;
    int64_t block_bytes, packed_bytes;
    void (*place)(const uint8_t* block, int64_t lane, uint8_t* group);
};
constexpr Packing kPackings[] = {{GGML_TYPE_Q4_1, GGML_TYPE_Q4_1, 20, 20, place_q4_1},
                                 {GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, 34, 34, place_q8_0},
                                 {GGML_TYPE_Q5_0, GGML_TYPE_Q8_0, 22, 34, place_q5_0}};

const Packing* packing_of(int type) {
    for (const Packing& packing : kPackings)
        if (packing.type == type) return &packing;
    return nullptr;
}

}  // namespace

bool gemv_streams(int type) { return packing_of(type) != nullptr; }

bool gemv_has_minima(int type) { return type == GGML_TYPE_Q4_1; }

PackedMatrix pack_for_gemv(int type, const char* rows, int64_t row_count, int64_t columns) {
    const Packing& packing = *packing_of(type);
    const int64_t group_bytes = kLanes * packing.packed_bytes;
    const int64_t blocks = columns / kColumns, groups = (row_count + kLanes - 1) / kLanes;
    PackedMatrix packed{packing.packed_type, row_count, columns, at::zeros({groups * blocks * group_bytes}, at::kByte)};
    uint8_t* out = packed.blocks.data_ptr<uint8_t>();
    const auto* from = reinterpret_cast<const uint8_t*>(rows);
    for (int64_t row = 0; row < row_count; ++row) {
        uint8_t* group = out + row / kLanes * blocks * group_bytes;
        for (int64_t b = 0; b < blocks; ++b, from += packing.block_bytes, group += group_bytes)
            packing.place(from, row % kLanes, group);
    }
    return packed;
}

GemvMatrix gemv_matrix(const Weights& weights, const std::string& name) {
    const at::Tensor& dense = weights.tensor(name);
    GemvMatrix matrix{dense.size(0), dense.size(1), 0, nullptr, dense.data_ptr<float>()};
    if (const PackedMatrix* packed = weights.packed(name)) {
        matrix.type = packed->type;
        matrix.blocks = packed->blocks.data_ptr<uint8_t>();
    }
    return matrix;
}

}  // namespace savepoint
