#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

// phi of linear attention, with d the head's width and f the width of phi(x):
//   identity      x                                                                       f = d, signed
//   elu1          elu(x) + 1 (Katharopoulos et al. 2020, arXiv 2006.16236, eq. 7)         f = d
//   relu          max(x, 0)                                                               f = d
//   squared_relu  max(x, 0)^2 (So et al. 2021, arXiv 2109.08668)                          f = d
//   exp           exp(x), column by column                                                f = d
//   favor         exp(w_j x' - |x'|^2 / 2) / sqrt(m), x' = x / d^(1/4), w_j orthogonal Gaussian directions: positive
//                 random features whose mean is softmax attention's exp(q k / sqrt d) (Choromanski et al. 2021,
//                 arXiv 2009.14794, lemma 1 and section 2.4)                              f = m
//   dpfp          r_i r_(i + j), j = 1..nu, r = relu([x, -x]) (Schlag et al. 2021, arXiv 2102.11174, eq. 37)  f = 2 d
//   nu hedgehog      exp([W x, -W x]), a W for every query head and KV head, fitted so that linear attention mimics the
//                 model's softmax attention (Zhang et al. 2024, arXiv 2402.04347)         f = 2 d
enum class PhiKind { identity, elu1, relu, squared_relu, exp, favor, dpfp, hedgehog };
std::string to_string(PhiKind kind);
PhiKind phi_from(const std::string& name);  // throws InputError that lists the names
const std::vector<PhiKind>& all_phi();

struct PhiSettings {
    PhiKind kind = PhiKind::elu1;
    bool rotary = false;           // keys and queries after rotary embedding; else before it
    int64_t favor_features = 128;  // m
    uint64_t favor_seed = 1;
    int64_t dpfp_nu = 1;
    bool operator==(const PhiSettings&) const = default;
};

}  // namespace savepoint
