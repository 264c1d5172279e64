// Products of a run's rows, of which not all is worked out.
#include "core/sidecar/row_products.h"

#include <ATen/ATen.h>

#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("row products: the first columns of each row are those of the dense product, for any ends") {
    const at::Tensor rows = at::randn({300, 40}), matrix = at::randn({40, 90});
    const at::Tensor exact = at::matmul(rows.to(at::kDouble), matrix.to(at::kDouble));
    at::Tensor ends = at::randint(0, 91, {300}, at::kLong);
    ends.slice(0, 0, 3).zero_();
    const at::Tensor asked = at::arange(90) < ends.unsqueeze(1);
    const at::Tensor found = product_up_to(ends, rows, matrix, {});
    CHECK(((found - exact) * asked).abs().max().item<double>() < 1e-4);
    // Most of what was not asked for is left out.
    CHECK((found.ne(0) & ~asked).sum().item<int64_t>() < asked.numel() / 8);
    CHECK(product_up_to(at::zeros({300}, at::kLong), rows, matrix, {}).abs().max().item<double>() == 0);
}

TEST_CASE("row products: of rounded rows, few zeros or many, what the dense product is") {
    const at::Tensor matrix = at::randn({200, 70});
    for (const double share : {0.02, 0.1, 0.5, 1.0}) {
        at::Tensor rows = at::randn({150, 200}) * (at::rand({150, 200}) < share);
        rows.slice(0, 0, 50).slice(1, 60).zero_();
        rows[7].zero_();
        const at::Tensor exact = at::matmul(rows.to(at::kDouble), matrix.to(at::kDouble));
        CHECK((product_of_rounded(rows, matrix, {}) - exact).abs().max().item<double>() < 1e-4);
    }
}
