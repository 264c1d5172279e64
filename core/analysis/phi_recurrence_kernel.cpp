#include "core/analysis/phi_recurrence_kernel.h"

namespace savepoint {
namespace {

constexpr int64_t kBlock = 64;  // columns that are summed in registers

void add_token(const HeadRecurrence& head, const float* key, const float* value) {
    for (int64_t f = 0; f < head.features; ++f) {
        const float feature = key[f];
        float* row = head.s + f * head.head_dim;
        for (int64_t i = 0; i < head.head_dim; ++i) row[i] += feature * value[i];
        head.n[f] += feature;
    }
}

// Columns first .. first + count of phi(q) S.
template <int64_t count>
void read_columns(const HeadRecurrence& head, const float* query, int64_t first, float* read) {
    float sum[count] = {};
    const float* row = head.s + first;
    for (int64_t f = 0; f < head.features; ++f, row += head.head_dim)
        for (int64_t i = 0; i < count; ++i) sum[i] += query[f] * row[i];
    for (int64_t i = 0; i < count; ++i) read[first + i] = sum[i];
}

void read_query(const HeadRecurrence& head, const float* query, float* read, float& denominator) {
    int64_t first = 0;
    for (; first + kBlock <= head.head_dim; first += kBlock) read_columns<kBlock>(head, query, first, read);
    for (; first < head.head_dim; ++first) read_columns<1>(head, query, first, read);
    denominator = 0;
    for (int64_t f = 0; f < head.features; ++f) denominator += query[f] * head.n[f];
}

}  // namespace

void run_recurrence(const HeadRecurrence& head) {
    for (int64_t token = 0; token < head.tokens; ++token) {
        add_token(head, head.key + token * head.key_stride, head.value + token * head.value_stride);
        const float* query = head.query + token * head.query_stride;
        float *read = head.read + token * head.read_stride,
              *denominator = head.denominator + token * head.denominator_stride;
        for (int64_t i = 0; i < head.group; ++i)
            read_query(head, query + i * head.features, read + i * head.head_dim, denominator[i]);
    }
}

}  // namespace savepoint
