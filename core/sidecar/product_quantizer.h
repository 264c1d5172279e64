#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/sidecar/range_coder.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

// Product vector quantisation (Jegou et al. 2011) of a group's latents: its components, in order, are cut into runs,
// each with a codebook of its own. A run is as long as some six bits last, that a Gaussian of its deviations takes at
// unit steps, sixteen components at most.
struct ProductCodes {
    static constexpr int64_t kWords = 256;

    at::Tensor words;           // [kWords, components]: a run's columns are its codebook
    at::Tensor counts;          // [kWords, runs]: how often each is chosen, moving averages
    std::vector<int64_t> ends;  // of the runs

    // Zeros, which learn() replaces by what it is first given. deviation [components], in steps.
    static ProductCodes empty(const at::Tensor& deviation);
    int64_t runs() const { return static_cast<int64_t>(ends.size()); }

    // The word of each run that is least in |z - word|^2 + bits ln 2 / 6, which is what a uniform grid of unit steps
    // pays for a nat (entropy-constrained, Chou, Lookabaugh & Gray 1989): z [rows, components] -> [rows, runs] int64.
    at::Tensor chosen(const at::Tensor& z) const;
    at::Tensor values(const at::Tensor& chosen) const;  // [rows, components]

    // Moves words to the mean of what chooses them, as moving averages (van den Oord et al. 2017, appendix A.1); words
    // that next to nothing chooses are put where one of the rows is.
    void learn(const at::Tensor& z, const at::Tensor& chosen, at::Generator& generator);
    at::Tensor nats() const;    // -ln of each word's share of its run's choices: [kWords, runs]
    double words_used() const;  // the exponential of the entropy of counts, mean over runs
};

// Codes what is chosen: a table for each run.
class WordCoder {
   public:
    WordCoder() = default;
    static WordCoder fitted(const at::Tensor& chosen);  // [rows, runs]

    int64_t runs() const { return static_cast<int64_t>(tables_.size()); }
    std::string encode(const at::Tensor& chosen) const;
    at::Tensor decode(const std::string& bytes, int64_t rows) const;  // throws InputError
    double bits(const at::Tensor& chosen) const;                      // of encode(), without coding

    void save(TensorFile& file, const std::string& name) const;
    static WordCoder load(const TensorFields& fields, const std::string& name, int64_t runs);  // throws FileError

   private:
    std::vector<std::vector<uint16_t>> frequencies_;
    std::vector<FrequencyTable> tables_;
};

}  // namespace savepoint
