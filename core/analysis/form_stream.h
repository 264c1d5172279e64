#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/analysis/matrix_components.h"
#include "core/analysis/phi_state.h"
#include "core/analysis/state_form.h"
#include "core/model/config.h"

namespace savepoint {

// Features of a form, token by token: [.., layers, units, width]. Matrix forms without components are as wide as they
// are; with them kMatrixComponents + 1.
struct FormShape {
    int64_t units = 0, width = 0;
};
FormShape form_shape(StateForm form, const Phi& phi, const ModelConfig& config);

struct FormRows {
    at::Tensor values;  // [n, layers, units, width] float32, finite
    at::Tensor masked;  // [n] int64: quotients of each token whose denominator vanished; they are 0
};

// A form of the linear-attention state after every token of a run that comes piece by piece. A copy is independent, so
// that a branch may go on from its parent's. Queries [tokens, layers, heads, head_dim], keys and values [tokens,
// layers, kv_heads, head_dim] are of the next tokens, before or after rotary embedding as phi's settings say. The
// read-outs of a piece are had at once; other forms cost a state a token. Throws InputError on shapes that disagree.
class FormStream {
   public:
    FormStream() = default;
    FormStream(std::shared_ptr<const Phi> phi, StateForm form,
               std::shared_ptr<const MatrixComponents> components = nullptr);

    FormRows next(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values);
    // Of some of these tokens alone: `wanted` counts from the first of them, ascending.
    FormRows next(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                  const std::vector<int64_t>& wanted);
    // Goes on without features.
    void skip(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values);
    // Whether next() and skip() look at queries; where they do not, they may be undefined.
    bool reads_queries() const { return is_read_out(form_); }
    bool skips_queries() const { return form_ != StateForm::mean_query; }

    int64_t tokens() const { return state_.tokens; }

   private:
    FormRows read_outs(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values);
    at::Tensor mean_queries(const at::Tensor& queries);  // so far, of each of the next tokens

    PhiState state_;
    StateForm form_ = StateForm::read_out;
    std::shared_ptr<const MatrixComponents> components_;
    at::Tensor query_sum_;  // of mean_query: [layers, heads, head_dim] float64
};

}  // namespace savepoint
