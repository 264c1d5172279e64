#pragma once

#include <cstdint>

namespace savepoint {

// The recurrence of linear attention, S_t = S_t-1 + phi(k_t)^T v_t and n_t = n_t-1 + phi(k_t), of one KV head over the
// next tokens, and what each query head of its group reads after each: phi(q_t) S_t and phi(q_t) n_t. float32, every
// sum in the order of the tokens and features. Strides are in floats, from one token to the next.
struct HeadRecurrence {
    int64_t tokens, features, head_dim, group;
    const float *query, *key, *value;  // phi(q) [group, features], phi(k) [features], v [head_dim]
    int64_t query_stride, key_stride, value_stride;
    float *s, *n;               // [features, head_dim], [features]; go on in place
    float *read, *denominator;  // [group, head_dim], [group] of each token
    int64_t read_stride, denominator_stride;
};
void run_recurrence(const HeadRecurrence& head);

}  // namespace savepoint
