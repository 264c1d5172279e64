#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/range_coder.h"
#include "core/sidecar/run_codec.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

class TransformCodec;

// How much what comes after a run depends on each of its tokens, for each group of blocks of a transform:
//   w(t, g) = E |d/dy sum_s log p(y_s)|^2,   y: the token's coefficients of the group, s over the tokens that follow,
// over its mean. It spreads over some orders of magnitude between the tokens of a text, and is foretold without a
// gradient from the attention that the run's last tokens pay:
//   ln w = b_g + A_g f(t),  f: ln a, its square, for a the attention received in each block; ln of the distance from
//   the
//                           run's end, its square; ln of the position
// Steps go with w^-1/2: at one slope of weighted distortion over rate everywhere, its sum is least for a number of bits
// (Shoham & Gersho 1988). They are sent along, so that decoding needs no attention.
class TokenImportance {
   public:
    static constexpr int kMost = 10;  // half octaves finer or coarser

    // How many half octaves coarser than the codec's step each token is quantised: [tokens, groups] int32. Zeros when
    // the run does not say what attention its rows receive.
    at::Tensor coarser(const CodedRun& run) const;
    int64_t finest() const { return finest_; }  // of all but one in a hundred, where it was fitted

    // Each group's beside the one below it.
    std::string encode(const at::Tensor& coarser) const;
    at::Tensor decode(const std::string& bytes, int64_t tokens) const;  // throws InputError

    void save(TensorFile& file) const;
    static TokenImportance load(const TensorFields& fields, int64_t layers, int64_t groups);  // throws FileError

   private:
    friend class TokenImportanceFit;
    int64_t groups() const { return weights_.size(0); }
    template <typename Coder>
    void walk(Coder& coder, at::Tensor& coarser) const;
    void build();

    at::Tensor mean_, deviation_;  // of f: [features]
    at::Tensor weights_;           // [groups, features + 1], b last
    at::Tensor frequencies_;  // [groups, symbols]: of the difference from the group below (group 0: the token before)
    int64_t finest_ = 0;
    std::vector<FrequencyTable> tables_;
};

// A group's column of [tokens, groups]; undefined when that is.
at::Tensor token_coarser(const at::Tensor& coarser, size_t group);
// How many of the codec's steps a token's step is: [tokens, 1]; undefined for an undefined `coarser` [tokens].
at::Tensor relative_steps(const at::Tensor& coarser);

// Ridge regression on what gradients of sampled next tokens measure, a batch of sequences at a time; about four forward
// passes' time each.
class TokenImportanceFit {
   public:
    TokenImportanceFit(const Transformer& model, uint64_t seed) : model_(model), seed_(seed) {}
    // Sequences of one length, of prefix and what follows it.
    void add(const TransformCodec& codec, const std::vector<std::vector<TokenId>>& sequences, int64_t prefix,
             int64_t exact_first);
    TokenImportance finish() const;  // throws InputError when nothing was added

   private:
    const Transformer& model_;
    uint64_t seed_, draws_ = 0;
    std::vector<at::Tensor> features_, energies_;  // [tokens, features], [tokens, groups]
};

}  // namespace savepoint
