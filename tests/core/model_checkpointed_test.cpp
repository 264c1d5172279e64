// Gradient checkpointing: what is kept and how often the function runs, beside autograd's own gradients.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/model/checkpointed.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;

namespace {

at::Tensor given(double from) { return at::arange(from, from + 1, 0.1, at::kDouble).set_requires_grad(true); }

}  // namespace

TEST_CASE("checkpointed: the gradients of the function, which runs again in the backward pass and keeps nothing") {
    int calls = 0;
    c10::weak_intrusive_ptr<c10::TensorImpl> inside{c10::intrusive_ptr<c10::TensorImpl>()};
    const TensorFunction f = [&](const std::vector<at::Tensor>& x) {
        ++calls;
        const at::Tensor middle = (x[0] * x[1]).exp();  // autograd would keep it
        inside = middle.getIntrusivePtr();
        return middle.sin() + x[1];
    };
    at::Tensor a = given(0), b = given(2), c = given(0), d = given(2);
    const at::Tensor plain = f({a, b});
    CHECK_FALSE(inside.expired());
    plain.sum().backward();
    calls = 0;

    const at::Tensor again = checkpointed(f, {c, d, at::Tensor()});
    CHECK(calls == 1);
    CHECK(inside.expired());
    CHECK(at::equal(again, plain));
    again.sum().backward();
    CHECK(calls == 2);
    CHECK(at::equal(c.grad(), a.grad()));
    CHECK(at::equal(d.grad(), b.grad()));
}

TEST_CASE("checkpointed: an input without a gradient gets none, and chains add up") {
    const TensorFunction f = [](const std::vector<at::Tensor>& x) { return (x[0] * x[1]).cos(); };
    at::Tensor a = given(0), c = given(0);
    const at::Tensor fixed = at::arange(3, 4, 0.1, at::kDouble);
    f({f({a, fixed}), a}).sum().backward();
    checkpointed(f, {checkpointed(f, {c, fixed}), c}).sum().backward();
    CHECK(at::equal(c.grad(), a.grad()));
    CHECK_FALSE(fixed.grad().defined());
    const at::NoGradGuard no_grad;
    CHECK(at::equal(checkpointed(f, {c, fixed}), f({a, fixed})));
}
