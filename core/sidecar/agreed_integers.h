#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/sidecar/range_coder.h"

namespace savepoint {

// A network's numbers as whole ones on which encoder and decoder must agree, for an entropy coder's tables hang on
// them. Both reckon the numbers, but another processor, or another number of threads, sums in another order. So what
// lies so near to a boundary of rounding that it might fall to either side is sent along; what is off by less than
// kMargin elsewhere does not matter (Balle et al. 2019, "Integer networks for data compression", tell of the trouble).
struct AgreedIntegers {
    static constexpr double kMargin = 1.0 / (1 << 14);

    static at::Tensor rounded(const at::Tensor& x);       // int8; x of any shape within its range
    static std::string close_calls(const at::Tensor& x);  // which are near a boundary, and to which side they went
    // rounded() of what close_calls() was made of, some at a time in the same order.
    class Reader {
       public:
        explicit Reader(std::string bytes);    // throws InputError
        at::Tensor next(const at::Tensor& x);  // int8
        void finish() const;  // throws InputError unless all was used and nothing missing

       private:
        void advance();
        std::unique_ptr<std::string> bytes_;
        SymbolReader symbols_;
        uint32_t left_ = 0;          // close calls not yet reached
        int64_t at_ = 0, next_ = 0;  // numbers passed; where the next close call is
        bool up_ = false;
    };
};

}  // namespace savepoint
