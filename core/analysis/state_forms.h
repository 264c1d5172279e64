#pragma once

#include <ATen/core/Tensor.h>

#include "core/analysis/phi_state.h"
#include "core/analysis/state_form.h"

namespace savepoint {

// A form of one state. values [layers, units, width] float32, finite; units are query heads or KV heads.
struct FormValues {
    at::Tensor values;
    int64_t masked = 0;  // quotients whose denominator vanished (kLeastDenominator); they are 0
};

// `query` [layers, heads, head_dim]: of the last token for read_out, the mean over the tokens for mean_query; before or
// after rotary embedding as phi's settings say; the other forms do without. Throws InputError on an empty state.
FormValues form_values(StateForm form, const PhiState& state, const at::Tensor& query = {});

}  // namespace savepoint
