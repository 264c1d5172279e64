#include "core/model/rows.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <limits>

namespace savepoint {

namespace {

at::Tensor slice_rows(const at::Tensor& tensor, int64_t first, int64_t count) {
    return tensor.defined() ? tensor.narrow(0, first, count) : tensor;
}

int64_t bytes_of(const at::Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; }

at::Tensor concat_member(const std::vector<StateRows>& parts, at::Tensor StateRows::*member) {
    std::vector<at::Tensor> tensors;
    for (const StateRows& part : parts) {
        if (!(part.*member).defined()) return {};
        tensors.push_back(part.*member);
    }
    return tensors.empty() ? at::Tensor() : tensors.size() == 1 ? tensors.front() : at::cat(tensors);
}

}  // namespace

int64_t StateRows::tokens() const {
    for (const at::Tensor* tensor : {&hidden, &key, &value, &last})
        if (tensor->defined()) return tensor->size(0);
    return 0;
}

StateRows StateRows::slice(int64_t first, int64_t count) const {
    return {slice_rows(hidden, first, count), slice_rows(key, first, count), slice_rows(value, first, count),
            slice_rows(last, first, count)};
}

int64_t StateRows::bytes() const { return bytes_of(hidden) + bytes_of(key) + bytes_of(value) + bytes_of(last); }

StateRows concat(const std::vector<StateRows>& parts) {
    return {concat_member(parts, &StateRows::hidden), concat_member(parts, &StateRows::key),
            concat_member(parts, &StateRows::value), concat_member(parts, &StateRows::last)};
}

int64_t RowEdit::first_affected_block() const {
    int64_t first = std::numeric_limits<int64_t>::max();
    if (hidden_block >= 0) first = hidden_block + 1;
    for (const KvRow& row : kv) first = std::min(first, row.block);
    return first;
}

}  // namespace savepoint
