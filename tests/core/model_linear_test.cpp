#include "core/model/linear.h"

#include <ATen/ATen.h>

#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("model: a frozen matrix multiplies as at::linear does, whatever the number of rows") {
    at::manual_seed(7);
    const at::Tensor weight = at::randn({192, 576});
    const Linear linear(weight);
    for (const int64_t rows : {1, 15, 16, 17, 256}) {
        const at::Tensor x = at::randn({rows, 576}), exact = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
        const at::Tensor y = linear(x.view({1, rows, 576}));
        REQUIRE(y.sizes() == at::IntArrayRef({1, rows, 192}));
        CHECK(largest_difference(y[0].to(at::kDouble).to(at::kFloat), exact.to(at::kFloat)) < 2e-4);
        CHECK(same_bits(linear(x), y[0]));
    }
    // Rows of a matrix that is not contiguous.
    const at::Tensor turned = at::randn({576, 64}).t();
    CHECK(largest_difference(linear(turned), at::linear(turned, weight)) < 2e-4);
}

TEST_CASE("model: gradients flow through a frozen matrix") {
    at::manual_seed(8);
    const at::Tensor weight = at::randn({24, 48});
    const at::Tensor x = at::randn({32, 48}).set_requires_grad(true);
    const Linear linear(weight);
    linear(x).sum().backward();
    CHECK(largest_difference(x.grad(), weight.sum(0).expand({32, 48})) < 1e-4);
}
