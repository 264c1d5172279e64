#include "views/phi_formula.h"

namespace savepoint::views {

const char* phi_formula(PhiKind kind) {
    switch (kind) {
        case PhiKind::identity:
            return "phi(x) = x, read as phi(q) S / t";
        case PhiKind::elu1:
            return "phi(x) = elu(x) + 1 (Katharopoulos et al. 2020)";
        case PhiKind::relu:
            return "phi(x) = max(x, 0)";
        case PhiKind::squared_relu:
            return "phi(x) = max(x, 0)^2 (So et al. 2021)";
        case PhiKind::exp:
            return "phi(x) = exp(x), column by column";
        case PhiKind::favor:
            return "FAVOR+: exp(w x' - |x'|^2 / 2) / sqrt(m) for m random directions w, x' = x / d^(1/4) (Performer, "
                   "Choromanski et al. 2021)";
        case PhiKind::dpfp:
            return "DPFP: products of relu([x, -x]) with itself, shifted (Schlag et al. 2021)";
        case PhiKind::hedgehog:
            return "Hedgehog: exp([W x, -W x]), a W for every head, fitted so that linear attention mimics the model's "
                   "softmax attention (Zhang et al. 2024)";
    }
    return "";
}

}  // namespace savepoint::views
