#include "core/analysis/phi.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <utility>

#include "core/model/error.h"
#include "core/sidecar/noise.h"

namespace savepoint {

namespace {

const std::array<std::pair<PhiKind, const char*>, 8> kNames{{{PhiKind::identity, "identity"},
                                                             {PhiKind::elu1, "elu1"},
                                                             {PhiKind::relu, "relu"},
                                                             {PhiKind::squared_relu, "squared_relu"},
                                                             {PhiKind::exp, "exp"},
                                                             {PhiKind::favor, "favor"},
                                                             {PhiKind::dpfp, "dpfp"},
                                                             {PhiKind::hedgehog, "hedgehog"}}};

// Rows of Gaussian length in directions that are orthogonal within each block of d (section 2.4 of the paper): [d, m].
at::Tensor orthogonal_directions(int64_t d, int64_t m, uint64_t seed) {
    std::vector<at::Tensor> blocks;
    for (int64_t first = 0; first < m; first += d) {
        at::Tensor drawn = at::empty({d, d}, at::kDouble), length = at::empty({d}, at::kDouble);
        const auto keyed = [&](int64_t i, int64_t j) {
            return keyed_normal({seed, static_cast<uint64_t>(first + i), static_cast<uint64_t>(j)});
        };
        for (int64_t i = 0; i < d; ++i)
            for (int64_t j = 0; j < d; ++j) drawn.data_ptr<double>()[i * d + j] = keyed(i, j);
        for (int64_t i = 0; i < d; ++i) {
            double squares = 0;
            for (int64_t j = 0; j < d; ++j) squares += std::pow(keyed(i, d + j), 2);
            length.data_ptr<double>()[i] = std::sqrt(squares);
        }
        blocks.push_back(std::get<0>(at::linalg_qr(drawn)) * length);  // the columns of Q, each of a length of its own
    }
    return at::cat(blocks, 1).slice(1, 0, m).to(at::kFloat).contiguous();
}

at::Tensor dpfp(const at::Tensor& x, int64_t nu) {
    const at::Tensor r = at::cat({x, -x}, -1).clamp_min(0);
    std::vector<at::Tensor> parts;
    for (int64_t j = 1; j <= nu; ++j) parts.push_back(r * r.roll(j, -1));
    return at::cat(parts, -1);
}

}  // namespace

std::string to_string(PhiKind kind) {
    for (const auto& [one, name] : kNames)
        if (one == kind) return name;
    return "?";
}

PhiKind phi_from(const std::string& name) {
    std::string known;
    for (const auto& [kind, one] : kNames) {
        if (name == one) return kind;
        known += (known.empty() ? "" : ", ") + std::string(one);
    }
    throw InputError("phi: \"" + name + "\" is none of " + known);
}

const std::vector<PhiKind>& all_phi() {
    static const std::vector<PhiKind> all = [] {
        std::vector<PhiKind> kinds;
        for (const auto& entry : kNames) kinds.push_back(entry.first);
        return kinds;
    }();
    return all;
}

at::Tensor hedgehog_logs(const at::Tensor& rows, const at::Tensor& weights) {
    const at::Tensor x = at::matmul(rows, weights);
    return at::cat({x, -x}, -1);
}

Phi::Phi(const PhiSettings& settings, int64_t head_dim) : settings_(settings), head_dim_(head_dim) {
    if (head_dim < 1) throw InputError("phi: heads have no width");
    if (settings.kind == PhiKind::hedgehog)
        throw InputError("phi: hedgehog is learned; fit it on text of this model first");
    if (settings.kind == PhiKind::dpfp && (settings.dpfp_nu < 1 || settings.dpfp_nu >= 2 * head_dim))
        throw InputError("phi: nu of dpfp must be from 1 to " + std::to_string(2 * head_dim - 1));
    if (settings.kind != PhiKind::favor) return;
    if (settings.favor_features < 1 || settings.favor_features > 4096)
        throw InputError("phi: features of favor must be from 1 to 4096");
    directions_ = orthogonal_directions(head_dim, settings.favor_features, settings.favor_seed);
}

Phi Phi::hedgehog(PhiSettings settings, const at::Tensor& query_maps, const at::Tensor& key_maps) {
    const auto square = [](const at::Tensor& x) { return x.defined() && x.dim() == 4 && x.size(2) == x.size(3); };
    if (!square(query_maps) || !square(key_maps) || query_maps.size(0) != key_maps.size(0) ||
        query_maps.size(3) != key_maps.size(3) || query_maps.size(1) % key_maps.size(1) != 0)
        throw InputError("phi: hedgehog's maps must be [layers, heads, d, d] and [layers, kv_heads, d, d]");
    settings.kind = PhiKind::identity;
    Phi phi(settings, query_maps.size(3));
    phi.settings_.kind = PhiKind::hedgehog;
    phi.query_maps_ = query_maps.to(at::kCPU, at::kFloat);
    phi.key_maps_ = key_maps.to(at::kCPU, at::kFloat);
    return phi;
}

Phi Phi::of_layer(int64_t layer) const {
    Phi one = *this;
    if (query_maps_.defined()) {
        one.query_maps_ = query_maps_.slice(0, layer, layer + 1);
        one.key_maps_ = key_maps_.slice(0, layer, layer + 1);
    }
    return one;
}

int64_t Phi::features() const {
    switch (settings_.kind) {
        case PhiKind::favor:
            return settings_.favor_features;
        case PhiKind::dpfp:
            return 2 * head_dim_ * settings_.dpfp_nu;
        case PhiKind::hedgehog:
            return 2 * head_dim_;
        default:
            return head_dim_;
    }
}

bool Phi::exponential() const {
    return settings_.kind == PhiKind::exp || settings_.kind == PhiKind::favor || settings_.kind == PhiKind::hedgehog;
}

at::Tensor Phi::map(const at::Tensor& x, const at::Tensor& weights) const {
    if (!x.defined() || x.dim() != 4 || x.size(3) != head_dim_)
        throw InputError("phi: rows must be [tokens, layers, heads, " + std::to_string(head_dim_) + "]");
    switch (settings_.kind) {
        case PhiKind::identity:
        case PhiKind::exp:
            return x;
        case PhiKind::elu1:
            return x.clamp_max(0).exp_().add_(x.clamp_min(0));  // x + 1 above 0, exp(x) below
        case PhiKind::relu:
            return x.clamp_min(0);
        case PhiKind::squared_relu:
            return x.clamp_min(0).square();
        case PhiKind::favor: {
            const at::Tensor scaled = x * std::pow(static_cast<double>(head_dim_), -0.25);
            return at::matmul(scaled, directions_.to(x.scalar_type())) - scaled.square().sum(-1, true) / 2 -
                   0.5 * std::log(static_cast<double>(settings_.favor_features));
        }
        case PhiKind::dpfp:
            return dpfp(x, settings_.dpfp_nu);
        case PhiKind::hedgehog: {
            if (x.size(1) != weights.size(0) || x.size(2) != weights.size(1))
                throw InputError("phi: hedgehog was fitted on another number of layers or heads");
            const at::Tensor rows = x.permute({1, 2, 0, 3});
            return hedgehog_logs(rows, weights.to(x.scalar_type())).permute({2, 0, 1, 3});
        }
    }
    throw InputError("phi: unknown kind");
}

at::Tensor Phi::queries(const at::Tensor& q) const {
    const at::Tensor mapped = map(q, query_maps_);
    return exponential() ? (mapped - mapped.amax(-1, true)).exp() : mapped;
}

at::Tensor Phi::keys(const at::Tensor& k) const { return map(k, key_maps_); }

}  // namespace savepoint
