#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
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
//
// Tokens may be quantised with steps of their own, `coarser` half octaves wider than the grid that columns are classed
// on: every class is that much lower then. Columns that a token's step cannot see any more are not coded and stay 0.
// And each value may be expected `wider` quarter octaves above its column's deviation: its class is that much higher.
class CoefficientCoder {
   public:
    // What both sides know of tokens before their values; undefined: 0 throughout.
    struct Context {
        Context(at::Tensor coarser = at::Tensor(), at::Tensor wider = at::Tensor())
            : coarser(std::move(coarser)), wider(std::move(wider)) {}
        at::Tensor coarser;  // [tokens] int32
        at::Tensor wider;    // [tokens, columns] int8
    };
    class Reader;

    CoefficientCoder() = default;
    // From a sample [tokens, columns] of quantised values and of what they stood for (float32), both in each token's
    // own steps. pull: of values().
    static CoefficientCoder fitted(const at::Tensor& quantised, const at::Tensor& exact, const Context& context = {},
                                   double pull = 1);

    int64_t columns() const { return static_cast<int64_t>(classes_.size()); }
    // The same with 0 in the columns that are not coded.
    at::Tensor coded_part(const at::Tensor& quantised, const at::Tensor& coarser) const;
    std::string encode(const at::Tensor& quantised, const Context& context = {}) const;  // [tokens, columns] int32
    // Throws InputError.
    at::Tensor decode(const std::string& bytes, int64_t tokens, const Context& context = {}) const;
    double bits(const at::Tensor& quantised, const Context& context = {}) const;  // of encode(), without coding
    // In the token's steps, [tokens, columns] float32: rounded values, pulled towards the mean of what falls into their
    // cell, nearer to zero, by the share `pull` of the way.
    at::Tensor values(const at::Tensor& quantised, const Context& context = {}) const;
    // How many columns, from the first, a token's step can see: [tokens] int64.
    at::Tensor seen(const at::Tensor& coarser) const;

    void save(TensorFile& file, const std::string& prefix) const;
    static CoefficientCoder load(const TensorFields& fields, const std::string& prefix);  // throws FileError

   private:
    // The running energy of one token beside what its columns are wont to have.
    class Gain {
       public:
        void next_token();
        void add(int32_t q, float variance);
        double square() const;

       private:
        double prior_ = 1, energy_ = 0, expected_ = 0;
    };
    struct Table {
        FrequencyTable frequencies;
        int raw_bits = 0;
    };
    template <typename Coder>
    void walk(Coder& coder, Gain& gain, int32_t* values, int64_t tokens, const Context& context) const;
    // Calls visit(class without the gain, class, value) for what is coded, in order; visit may change the value.
    template <typename Visit>
    void each(Gain& gain, int32_t* values, int64_t tokens, const Context& context, Visit visit) const;
    template <typename Coder>
    void code(Coder& coder, const Table& table, int32_t& value) const;
    int64_t seen_at(int32_t coarser) const;
    int wont_class(int64_t column, int32_t coarser, int32_t wider) const;  // without the gain
    void find_ends();
    void build();

    std::vector<uint8_t> classes_;    // [columns]
    std::vector<float> mean_square_;  // by class: E[q^2]
    std::vector<float> pull_;         // by class, in steps
    std::vector<std::vector<uint16_t>> frequencies_;
    std::vector<Table> tables_;
    std::vector<int64_t> ends_;  // by how much coarser
};

// decode() some tokens at a time: what is known of the later may depend on what the earlier decoded to.
class CoefficientCoder::Reader {
   public:
    Reader(const CoefficientCoder& coder, std::string bytes)  // the coder outlives it
        : coder_(&coder), bytes_(std::make_unique<std::string>(std::move(bytes))), symbols_(*bytes_) {}
    at::Tensor next(int64_t tokens, const Context& context);
    void finish() const { symbols_.finish(); }  // throws InputError unless all bytes were used and none were missing

   private:
    const CoefficientCoder* coder_;
    std::unique_ptr<std::string> bytes_;
    SymbolReader symbols_;
    Gain gain_;
};

}  // namespace savepoint
