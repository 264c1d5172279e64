#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/sidecar/range_coder.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

// Entropy coding of quantised coefficients [tokens, columns], columns in order of falling variance.
//
// Each column has a scale class, the quarter octave of its standard deviation in steps of the grid. Tokens differ in
// energy, so the class that codes a value moves with a gain that both sides reckon from what was coded before it:
//   gain^2 = (a g^2 + sum_j q_j^2 / (v_j + 1/2)) / (a + sum_j v_j / (v_j + 1/2)),    v_j = E[q_j^2], a = 4,
// g the gain of the token before. One frequency table a class, fitted. Values beyond a table's span cost
// an escape and raw bits; wide classes code their low bits raw.
class CoefficientCoder {
   public:
    CoefficientCoder() = default;
    // From a sample [tokens, columns] int32 of quantised values and of what they stood for (float32, in steps).
    static CoefficientCoder fitted(const at::Tensor& quantised, const at::Tensor& exact);

    int64_t columns() const { return static_cast<int64_t>(classes_.size()); }
    std::string encode(const at::Tensor& quantised) const;              // [tokens, columns] int32
    at::Tensor decode(const std::string& bytes, int64_t tokens) const;  // throws InputError
    double bits(const at::Tensor& quantised) const;                     // of encode(), without coding
    // In steps, pulled towards zero to the mean of what falls into a cell: [tokens, columns] float32.
    at::Tensor values(const at::Tensor& quantised) const;

    void save(TensorFile& file, const std::string& prefix) const;
    static CoefficientCoder load(const TensorFields& fields, const std::string& prefix);  // throws FileError

   private:
    class Gain;
    struct Table {
        FrequencyTable frequencies;
        int raw_bits = 0;
    };
    template <typename Coder>
    void walk(Coder& coder, int32_t* values, int64_t tokens) const;
    template <typename Coder>
    void code(Coder& coder, const Table& table, int32_t& value) const;
    void build();

    std::vector<uint8_t> classes_;  // [columns]
    std::vector<float> variance_;   // [columns], E[q^2]
    std::vector<float> pull_;       // [columns], in steps
    std::vector<std::vector<uint16_t>> frequencies_;
    std::vector<Table> tables_;
};

}  // namespace savepoint
