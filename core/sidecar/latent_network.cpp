#include "core/sidecar/latent_network.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

namespace savepoint {

namespace {

constexpr double kCorrection = 0.5;  // steps
constexpr double kWidest = 2;        // of what is added to a log spread

at::Tensor normed(const at::Tensor& x) { return x * x.square().mean(-1, true).add(1e-5).rsqrt(); }

at::Tensor gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up) {
    return at::silu(at::linear(x, gate)) * at::linear(x, up);
}

// -slope (t - s) for s <= t, and -inf for the tokens to come: [heads, tokens, tokens].
at::Tensor alibi(int64_t heads, int64_t tokens, const at::TensorOptions& options) {
    const at::Tensor place = at::arange(tokens, options);
    const at::Tensor distance = place.unsqueeze(1) - place.unsqueeze(0);
    const at::Tensor slopes = at::pow(2.0, -8.0 * at::arange(1, heads + 1, options) / static_cast<double>(heads));
    const at::Tensor bias = -slopes.view({heads, 1, 1}) * distance;
    return bias.masked_fill(distance < 0, -std::numeric_limits<float>::infinity());
}

// Row t of the result is row t - 1 of x; row 0 is zeros.
at::Tensor delayed(const at::Tensor& x, int64_t tokens) {
    const int64_t count = x.size(1), kept = std::max<int64_t>(count - tokens, 0);
    return at::cat({at::zeros({x.size(0), count - kept, x.size(2)}, x.options()), x.slice(1, 0, kept)}, 1);
}

}  // namespace

LatentNetwork::LatentNetwork(LearnedSettings settings, Shape shape, uint64_t seed)
    : settings_(std::move(settings)), shape_(std::move(shape)), seed_(seed) {
    const int64_t m = settings_.width, f = settings_.feed_forward;
    const size_t groups = shape_.deviation.size(), networks = unified() ? 1 : groups;
    for (size_t g = 0; g < networks; ++g) {
        const int64_t c = unified() ? widest() : shape_.components(g);
        const auto random = [&](const char* role, int64_t out, int64_t in) {
            add(of(g, role), {out, in}, 1 / std::sqrt(static_cast<double>(in)));
        };
        const auto zeros = [&](const char* role, std::vector<int64_t> sizes) { add(of(g, role), std::move(sizes), 0); };
        if (shape_.context > 0) {
            random("context.in", m, shape_.context);
            if (settings_.architecture == "attention") {
                for (const char* role : {"mix.q", "mix.k", "mix.v"}) random(role, m, m);
                zeros("mix.out", {m, m});
            } else if (settings_.architecture == "conv") {
                zeros("mix.conv", {m, m * settings_.window});
            }
            random("context.gate", f, m);
            random("context.up", f, m);
            zeros("context.told", {m});
            zeros("context.down", {m, f});
            zeros("context.expected", {c, m});
            if (settings_.corrections()) zeros("decoder.context", {c, m});
            if (settings_.prior == "context") zeros("context.spread", {c, m});
        }
        if (unified()) add("unified.embedding", {static_cast<int64_t>(groups), m}, 0.02);
        if (!settings_.corrections()) continue;
        random("encoder.in", m, c);
        zeros("encoder.told", {m});
        zeros("encoder.out", {c, m});
        random("decoder.in", m, c);
        zeros("decoder.told", {m});
        zeros("decoder.out", {c, m});
        if (!unified()) continue;
        for (const char* role : {"layers.q", "layers.k", "layers.v"}) random(role, m, m);
        zeros("layers.out", {m, m});
    }
    for (size_t g = 0; g < groups; ++g) {
        add("group." + std::to_string(g) + ".scale", {shape_.components(g)}, 0);
        add("group." + std::to_string(g) + ".spread", {shape_.components(g)}, 0);
        if (!in_words()) continue;
        const ProductCodes codes = ProductCodes::empty(shape_.deviation[g]);
        parameters_["group." + std::to_string(g) + ".words"] = codes.words;
        parameters_["group." + std::to_string(g) + ".counts"] = codes.counts;
    }
}

void LatentNetwork::to(const c10::Device& device) {
    for (auto& [name, value] : parameters_) value = value.detach().to(device);
    for (at::Tensor& d : shape_.deviation) d = d.to(device);
}

std::string LatentNetwork::of(size_t group, const char* role) const {
    return "network." + std::to_string(unified() ? 0 : group) + "." + role;
}

void LatentNetwork::add(const std::string& name, std::vector<int64_t> sizes, double spread) {
    at::Generator generator = at::detail::createCPUGenerator(seed_ + parameters_.size());
    parameters_[name] = spread == 0 ? at::zeros(sizes) : at::randn(sizes, generator) * spread;
}

at::Tensor LatentNetwork::attended(size_t group, const at::Tensor& x, const char* role, bool causal) const {
    const int64_t heads = settings_.heads, batch = x.size(0), tokens = x.size(1);
    const std::string prefix = role;
    const auto heads_of = [&](const char* part) {
        return at::linear(normed(x), weight(group, (prefix + part).c_str()))
            .view({batch, tokens, heads, -1})
            .transpose(1, 2);
    };
    const at::Tensor q = heads_of(".q"), k = heads_of(".k"), v = heads_of(".v");
    at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
    if (causal) scores = scores + alibi(heads, tokens, x.options());
    const at::Tensor z = at::matmul(at::softmax(scores, -1), v).transpose(1, 2).flatten(2);
    return at::linear(z, weight(group, (prefix + ".out").c_str()));
}

at::Tensor LatentNetwork::mixed(size_t group, const at::Tensor& x) const {
    if (settings_.architecture == "attention") return x + attended(group, x, "mix", true);
    if (settings_.architecture != "conv") return x;
    std::vector<at::Tensor> span;
    for (int64_t back = 0; back < settings_.window; ++back) span.push_back(back == 0 ? x : delayed(x, back));
    return x + at::linear(at::cat(span, -1), weight(group, "mix.conv"));
}

at::Tensor LatentNetwork::told(size_t group, const std::string& role, const at::Tensor& r) const {
    return r.log2() * weight(group, (role + ".told").c_str());
}

at::Tensor LatentNetwork::correction(size_t group, const at::Tensor& r) const {
    const at::Tensor& d = shape_.deviation[group];
    return r.defined() ? at::minimum(d, r * kCorrection) : d.clamp_max(kCorrection);
}

LatentNetwork::Context LatentNetwork::context(size_t group, const at::Tensor& seen, const at::Tensor& r) const {
    at::Tensor x = at::linear(seen, weight(group, "context.in"));
    if (r.defined()) x = x + told(group, "context", r);
    if (unified()) x = x + parameters_.at("unified.embedding")[static_cast<int64_t>(group)];
    x = mixed(group, x);
    x = x + at::linear(gated(normed(x), weight(group, "context.gate"), weight(group, "context.up")),
                       weight(group, "context.down"));
    const at::Tensor hidden = normed(x);
    Context out;
    out.hidden = hidden;
    out.expected = cut(group, at::linear(hidden, weight(group, "context.expected"))) * shape_.deviation[group];
    if (settings_.prior == "context")
        out.log_spread = cut(group, at::linear(hidden, weight(group, "context.spread"))).clamp(-kWidest, kWidest);
    return out;
}

at::Tensor LatentNetwork::seen(size_t group, const at::Tensor& c, const std::string& role, const at::Tensor& r) const {
    const at::Tensor x = at::linear(padded(c / shape_.deviation[group]), weight(group, (role + ".in").c_str()));
    return r.defined() ? x + told(group, role, r) : x;
}

at::Tensor LatentNetwork::encoded(size_t group, const at::Tensor& c, const at::Tensor& r) const {
    if (!settings_.corrections()) return c * scale(group);
    at::Tensor inner = seen(group, c, "encoder", r);
    if (unified()) inner = inner + parameters_.at("unified.embedding")[static_cast<int64_t>(group)];
    const at::Tensor change = cut(group, at::linear(at::silu(inner), weight(group, "encoder.out")));
    return (c + change * correction(group, r)) * scale(group);
}

at::Tensor LatentNetwork::decoded(size_t group, const at::Tensor& v, const at::Tensor& hidden,
                                  const at::Tensor& r) const {
    if (!settings_.corrections()) return v;
    at::Tensor change = at::linear(at::silu(seen(group, v, "decoder", r)), weight(group, "decoder.out"));
    if (hidden.defined()) change = change + at::linear(hidden, weight(group, "decoder.context"));
    return v + change * correction(group, r);
}

std::vector<at::Tensor> LatentNetwork::decoded_together(const std::vector<at::Tensor>& v,
                                                        const std::vector<at::Tensor>& r) const {
    if (!settings_.corrections()) return v;
    std::vector<at::Tensor> rows;
    for (size_t g = 0; g < v.size(); ++g) rows.push_back(seen(g, v[g], "decoder", r[g]));
    const auto groups = static_cast<int64_t>(v.size());
    // [batch * tokens, groups, width]: the groups of a token attend to each other.
    at::Tensor x = (at::stack(rows, 2) + parameters_.at("unified.embedding")).flatten(0, 1);
    x = at::silu(x + attended(0, x, "layers", false));
    const at::Tensor change =
        at::linear(x, weight(0, "decoder.out")).view({v[0].size(0), v[0].size(1), groups, widest()});
    std::vector<at::Tensor> out;
    for (size_t g = 0; g < v.size(); ++g)
        out.push_back(v[g] + cut(g, change.select(2, static_cast<int64_t>(g))) * correction(g, r[g]));
    return out;
}

int64_t LatentNetwork::widest() const {
    int64_t most = 0;
    for (const at::Tensor& d : shape_.deviation) most = std::max(most, d.size(0));
    return most;
}

at::Tensor LatentNetwork::padded(const at::Tensor& c) const {
    return unified() ? at::constant_pad_nd(c, {0, widest() - c.size(-1)}) : c;
}

at::Tensor LatentNetwork::cut(size_t group, const at::Tensor& c) const {
    return c.slice(-1, 0, shape_.components(group));
}

at::Tensor LatentNetwork::scale(size_t group) const {
    const at::Tensor& log_scale = parameters_.at("group." + std::to_string(group) + ".scale");
    return settings_.corrections() ? log_scale.exp() : at::ones_like(log_scale);
}

at::Tensor LatentNetwork::log_spread(size_t group) const {
    return parameters_.at("group." + std::to_string(group) + ".spread");
}

ProductCodes LatentNetwork::codes(size_t group) const {
    ProductCodes codes = ProductCodes::empty(shape_.deviation[group]);
    codes.words = parameters_.at("group." + std::to_string(group) + ".words").detach();
    codes.counts = parameters_.at("group." + std::to_string(group) + ".counts").detach();
    return codes;
}

void LatentNetwork::save(TensorFile& file) const {
    for (const auto& [name, value] : parameters_) file.tensors["learned." + name] = value.detach().to(at::kHalf);
}

void LatentNetwork::load(const TensorFields& fields) {
    for (auto& [name, value] : parameters_) {
        const at::Tensor read = fields.tensor("learned." + name, value.sizes().vec());
        value = read.to(at::kFloat).contiguous();
    }
}

}  // namespace savepoint
