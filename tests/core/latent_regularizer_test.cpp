#include "core/sidecar/latent_regularizer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "tests/core/model_fixture.h"

using namespace savepoint;

namespace {

const at::Tensor kDeviation = at::tensor({0.4f, 3.0f, 20.0f});

at::Tensor penalty(const std::string& regularizer, const at::Tensor& z) {
    return regularized_latent(regularizer, z, log_spread_of(kDeviation), 0, nullptr).penalty;
}

}  // namespace

TEST_CASE("the rate of rounded latents is that of a probability: it adds up to one over a component's values") {
    for (int64_t component = 0; component < 3; ++component) {
        double sum = 0, square = 0;
        const at::Tensor alone = log_spread_of(kDeviation[component]);
        for (int z = -400; z <= 400; ++z) {
            const double p = std::exp(
                -regularized_latent("rate", at::full({1}, z, at::kFloat), alone, 0, nullptr).penalty.item<double>());
            sum += p;
            square += p * z * z;
        }
        CHECK(sum == doctest::Approx(1).epsilon(1e-4));
        if (component > 0)  // rounding adds a twelfth to the variance
            CHECK(square ==
                  doctest::Approx(std::pow(kDeviation[component].item<double>(), 2) + 1.0 / 12).epsilon(0.01));
    }
}

TEST_CASE("the variational bound is the divergence of two Gaussians, here by integration") {
    const double deviation = 3, mean = 1.7, variance = 1.0 / 12;
    double integral = 0;
    const double h = 1e-3;
    for (double x = mean - 3; x < mean + 3; x += h) {
        const double q = std::exp(-0.5 * (x - mean) * (x - mean) / variance) / std::sqrt(2 * M_PI * variance);
        const double log_p = -0.5 * x * x / (deviation * deviation) - std::log(deviation * std::sqrt(2 * M_PI));
        if (q > 0) integral += h * q * (std::log(q) - log_p);
    }
    const at::Tensor z = at::full({1}, mean, at::kFloat), spread = log_spread_of(at::full({1}, deviation, at::kFloat));
    CHECK(regularized_latent("kl", z, spread, 0, nullptr).penalty.item<double>() ==
          doctest::Approx(integral).epsilon(1e-4));

    // What the decoder is given scatters about z as rounding would.
    at::Generator noise = at::detail::createCPUGenerator(3);
    const at::Tensor many = at::full({20000, 1}, mean, at::kFloat);
    const at::Tensor given = regularized_latent("kl", many, spread, 0, &noise).z;
    CHECK(given.mean().item<double>() == doctest::Approx(mean).epsilon(0.01));
    CHECK(given.var().item<double>() == doctest::Approx(variance).epsilon(0.05));
}

TEST_CASE("l2 holds z to its first deviation, and neither rounding nor the prior takes a gradient from it") {
    const at::Tensor z = at::tensor({0.8f, -6.0f, 10.0f}).set_requires_grad(true);
    const at::Tensor spread = log_spread_of(kDeviation).set_requires_grad(true);
    const RegularizedLatent latent = regularized_latent("l2", z, spread, 0, nullptr);
    CHECK(latent.penalty.item<double>() == doctest::Approx((4 + 4 + 0.25) / 2));
    CHECK(at::equal(latent.z, at::tensor({1.0f, -6.0f, 10.0f})));
    latent.penalty.backward();
    CHECK(at::allclose(z.grad(), at::tensor({0.8f / 0.16f, -6.0f / 9, 10.0f / 400})));
    CHECK(!spread.grad().defined());
}
