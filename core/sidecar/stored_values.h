#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/sidecar/run_codec.h"
#include "core/state/json_fields.h"

namespace savepoint {

// How a matrix of numbers is kept: as float16 (bits 16), or in groups of neighbours in a row that share a scale
// (KIVI, arXiv 2402.02750, section 2: asymmetric round to nearest):
//   zero = min, scale = (max - min) / (2^bits - 1), code = round((x - zero) / scale), x^ = code scale + zero
// scale and zero are float16, rounded outwards, and the codes refer to what was rounded: |x - x^| <= scale / 2.
// Where a row is no multiple of the group, its last group is shorter. Values beyond float16 become its largest.
struct ValueFormat {
    int bits = 16;       // 2..8, or 16
    int64_t group = 32;  // values; not used by 16 bits
};
void check_format(const ValueFormat& format);                 // throws InputError
void check_formats(const std::vector<ValueFormat>& formats);  // of several rates: at least one
void save_format(const ValueFormat& format, nlohmann::json& settings);
ValueFormat load_format(const Fields& settings);   // throws FileError
std::string to_string(const ValueFormat& format);  // "fp16", "int4 g32"

// Bytes of [rows, columns]: the codes of all groups as one stream of bits (least significant first), then
// a scale and a zero for each group.
int64_t stored_bytes(int64_t rows, int64_t columns, const ValueFormat& format);
void store(std::string& bytes, const at::Tensor& values, const ValueFormat& format);  // float32 [rows, columns]
// float32 [rows, columns]; throws InputError at the end of the bytes or when a value is not finite.
at::Tensor restore(ByteReader& reader, int64_t rows, int64_t columns, const ValueFormat& format);
at::Tensor rounded(const at::Tensor& values, const ValueFormat& format);  // what restore() gives, bit for bit

// To be called before anything is allocated for a run whose byte count follows from its token count.
void require_size(const std::string& bytes, int64_t expected, const std::string& what);  // throws InputError

}  // namespace savepoint
