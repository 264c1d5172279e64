#include "core/sidecar/latent_regularizer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/sidecar/codec_transform.h"

namespace savepoint {

namespace {

constexpr double kLeastProbability = 1e-9, kRoundingVariance = 1.0 / 12;
const double kDeviationOfLogistic = M_PI / std::sqrt(3.0);  // of spread 1

// -ln of the mass that the logistic has in the cell about z.
at::Tensor nats(const at::Tensor& z, const at::Tensor& log_spread) {
    const at::Tensor inverse = (-log_spread).exp(), distance = z.abs();
    const at::Tensor mass = at::sigmoid((0.5 - distance) * inverse) - at::sigmoid((-0.5 - distance) * inverse);
    return -mass.clamp_min(kLeastProbability).log().sum(-1);
}

at::Tensor divergence_from_prior(const at::Tensor& z, const at::Tensor& deviation) {
    const at::Tensor variance = deviation.square();
    const at::Tensor each =
        0.5 * ((variance / kRoundingVariance).log() + (kRoundingVariance + z.square()) / variance - 1);
    return each.sum(-1);
}

}  // namespace

at::Tensor log_spread_of(const at::Tensor& deviation) { return (deviation / kDeviationOfLogistic).log(); }

bool is_regularizer(const std::string& name) { return name == "rate" || name == "kl" || name == "l2"; }

RegularizedLatent regularized_latent(const std::string& regularizer, const at::Tensor& z, const at::Tensor& log_spread,
                                     double dead_zone, at::Generator* noise) {
    const at::Tensor rounded = z + (round_to_steps(z, dead_zone) - z).detach();
    const auto drawn = [&](const at::Tensor& on_cpu) { return on_cpu.to(z.device()); };  // the same on every device
    if (regularizer == "rate") {
        const at::Tensor rate = nats(noise ? z + (drawn(at::rand(z.sizes(), *noise)) - 0.5) : rounded, log_spread);
        return {rounded, rate, rate.detach()};
    }
    const at::Tensor rate = nats(rounded.detach(), log_spread.detach());
    const at::Tensor deviation = log_spread.exp() * kDeviationOfLogistic;
    if (regularizer == "l2") return {rounded, (z / deviation.detach()).square().sum(-1) / 2, rate};
    const at::Tensor sample = noise ? z + drawn(at::randn(z.sizes(), *noise)) * std::sqrt(kRoundingVariance) : rounded;
    return {sample, divergence_from_prior(z, deviation), rate};
}

}  // namespace savepoint
