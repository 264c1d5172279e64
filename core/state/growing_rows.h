#pragma once

#include "core/model/rows.h"

namespace savepoint {

// Rows that grow by one token at a time: `held` are narrow views of the beginning of `buffer`, whose
// capacity doubles, so that n appends copy O(n) rows in all.

// Appends `row` (one token) to rows of `count` tokens. Throws InputError when shapes differ.
void append_row(StateRows& held, StateRows& buffer, StateRows row, int64_t count);
// Makes `held` own exactly its rows, so that the unused capacity of `buffer` can be freed.
void give_back_capacity(StateRows& held, const StateRows& buffer);

}  // namespace savepoint
