#include "core/state/growing_rows.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/state/thought_graph.h"

namespace savepoint {
namespace {

constexpr int64_t kFirstCapacity = 4;

// A buffer only counts when the rows still are its beginning: rows set from outside are not.
bool has_room(const at::Tensor& held, const at::Tensor& buffer, int64_t count) {
    if (!buffer.defined() || buffer.size(0) <= count) return false;
    return count == 0 || (held.defined() && held.data_ptr() == buffer.data_ptr());
}

at::Tensor grown(const at::Tensor& held, const at::Tensor& row, int64_t count) {
    std::vector<int64_t> shape = row.sizes().vec();
    shape[0] = std::max(kFirstCapacity, 2 * count);
    at::Tensor buffer = at::empty(shape, row.options());
    if (count > 0) buffer.narrow(0, 0, count).copy_(held);
    return buffer;
}

void check_row(const at::Tensor& held, const at::Tensor& row, int64_t count) {
    if (row.dim() < 1 || row.size(0) != 1) throw InputError("a row to append must hold exactly one token");
    if (count > 0 && row.sizes().slice(1) != held.sizes().slice(1))
        throw InputError("a row to append has another shape than the rows before it");
}

void append_part(at::Tensor& held, at::Tensor& buffer, const at::Tensor& row, int64_t count) {
    if (!row.defined() || (count > 0 && !held.defined())) {
        held.reset();
        buffer.reset();
        return;
    }
    check_row(held, row, count);
    if (!has_room(held, buffer, count)) buffer = grown(held, row, count);
    buffer.narrow(0, count, 1).copy_(row);
    held = buffer.narrow(0, 0, count + 1);
}

void shrink_part(at::Tensor& held, const at::Tensor& buffer) {
    const bool is_buffer = held.defined() && buffer.defined() && held.data_ptr() == buffer.data_ptr();
    if (is_buffer && buffer.size(0) > held.size(0)) held = held.clone();
}

}  // namespace

void append_row(StateRows& held, StateRows& buffer, StateRows row, int64_t count) {
    row.last = last_rows(row);
    append_part(held.hidden, buffer.hidden, row.hidden, count);
    append_part(held.key, buffer.key, row.key, count);
    append_part(held.value, buffer.value, row.value, count);
    append_part(held.last, buffer.last, row.last, count);
}

void give_back_capacity(StateRows& held, const StateRows& buffer) {
    shrink_part(held.hidden, buffer.hidden);
    shrink_part(held.key, buffer.key);
    shrink_part(held.value, buffer.value);
    shrink_part(held.last, buffer.last);
}

}  // namespace savepoint
