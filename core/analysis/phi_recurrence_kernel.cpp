#include "core/analysis/phi_recurrence_kernel.h"

#include <algorithm>

namespace savepoint {
namespace {

void add_token(const HeadRecurrence& head, const float* key, const float* value) {
    for (int64_t f = 0; f < head.features; ++f) {
        const float feature = key[f];
        float* row = head.s + f * head.head_dim;
        for (int64_t i = 0; i < head.head_dim; ++i) row[i] += feature * value[i];
        head.n[f] += feature;
    }
}

float read_query(const HeadRecurrence& head, const float* query, float* read) {
    std::fill(read, read + head.head_dim, 0.0f);
    float denominator = 0;
    for (int64_t f = 0; f < head.features; ++f) {
        const float feature = query[f];
        const float* row = head.s + f * head.head_dim;
        for (int64_t i = 0; i < head.head_dim; ++i) read[i] += feature * row[i];
        denominator += feature * head.n[f];
    }
    return denominator;
}

}  // namespace

void run_recurrence(const HeadRecurrence& head) {
    for (int64_t token = 0; token < head.tokens; ++token) {
        add_token(head, head.key + token * head.key_stride, head.value + token * head.value_stride);
        for (int64_t i = 0; i < head.group; ++i)
            head.denominator[token * head.denominator_stride + i] =
                read_query(head, head.query + token * head.query_stride + i * head.features,
                           head.read + token * head.read_stride + i * head.head_dim);
    }
}

}  // namespace savepoint
