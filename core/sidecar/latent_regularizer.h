#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>

namespace savepoint {

// R(z) of a learned codec's training, and what its decoder is given meanwhile. p: the deviation of the prior, by
// component, of a logistic of spread exp(log_spread).
//   rate  nats of rounded z under that logistic, z + u with u uniform in a cell standing for it (Balle et al. 2017);
//         the decoder gets z rounded, whose gradient passes straight through (Bengio et al. 2013)
//   kl    KL(N(z, 1/12) || N(0, p^2)), the bound of a variational autoencoder (Kingma & Welling 2014) whose posterior
//   is
//         as wide as rounding is; the decoder gets a sample of it. A component's learned step sets its width.
//   l2    sum (z / p)^2 / 2, p as it was at first; the decoder gets z rounded
struct RegularizedLatent {
    at::Tensor z;        // as z was given: [.., components]
    at::Tensor penalty;  // [..]: nats, for l2 those of a Gaussian without its constant
    at::Tensor nats;     // of coding z under the logistic, whichever of the three: [..], no gradient
};
// noise null: no noise, z rounded in all three. log_spread: broadcastable to z.
RegularizedLatent regularized_latent(const std::string& regularizer, const at::Tensor& z, const at::Tensor& log_spread,
                                     double dead_zone, at::Generator* noise);
// Of the logistic, for a deviation p.
at::Tensor log_spread_of(const at::Tensor& deviation);

bool is_regularizer(const std::string& name);

}  // namespace savepoint
