// Products of rows that are mostly zeros.
#include "core/sidecar/sparse_rows.h"

#include <ATen/ATen.h>

#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("sparse rows: times a matrix is what the dense product is, for any width") {
    const at::Tensor rows = at::randn({50, 300}) * (at::rand({50, 300}) < 0.1);
    for (const int64_t width : {64, 192, 577, 7}) {
        const at::Tensor matrix = at::randn({300, width});
        const at::Tensor exact = at::matmul(rows.to(at::kDouble), matrix.to(at::kDouble));
        CHECK((SparseRows(rows).times(matrix) - exact).abs().max().item<double>() < 2e-5);
    }
}

TEST_CASE("sparse rows: a row's product is the same among any others") {
    const at::Tensor rows = at::randn({40, 200}) * (at::rand({40, 200}) < 0.2), matrix = at::randn({200, 130});
    const at::Tensor all = SparseRows(rows).times(matrix);
    for (const int64_t t : {0, 17, 39})
        CHECK(same_bits(SparseRows(rows.slice(0, t, t + 1)).times(matrix), all.slice(0, t, t + 1)));
    CHECK(same_bits(SparseRows(rows.slice(0, 5, 23)).times(matrix), all.slice(0, 5, 23)));
}

TEST_CASE("sparse rows: of zeros, and of none") {
    const at::Tensor matrix = at::randn({30, 70});
    CHECK(SparseRows(at::zeros({3, 30})).times(matrix).abs().max().item<float>() == 0);
    CHECK(SparseRows(at::zeros({0, 30})).times(matrix).size(0) == 0);
    at::Tensor last = at::zeros({2, 30});
    last[1][29] = -2;  // in the last column
    CHECK(same_bits(SparseRows(last).times(matrix)[1], matrix[29] * -2));
}
