#include "core/model/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"

namespace savepoint {

namespace {

struct Weighted {
    TokenId id;
    double weight;
};

bool more_likely(const Weighted& a, const Weighted& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

// splitmix64's output function (Steele, Lea, Flood 2014): a bijection that mixes every bit into every other.
uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

at::Tensor checked_row(const at::Tensor& logits) {
    at::Tensor row = logits.detach().reshape({-1}).to(at::kCPU, at::kFloat).contiguous();
    if (row.numel() == 0) throw InputError("logits: there are none");
    if (!std::isfinite(row.max().item<float>()))
        throw InputError("logits: they are not finite; the state or the edit behind them holds NaN or infinity");
    return row;
}

void check(const SamplerSettings& s) {
    if (!s.greedy && !(s.temperature > 0 && std::isfinite(s.temperature)))
        throw InputError("temperature: must be above 0 (or choose greedy)");
    if (s.top_k < 0) throw InputError("top_k: must not be negative");
    if (!(s.top_p > 0 && s.top_p <= 1)) throw InputError("top_p: must be in (0, 1]");
    if (!(s.min_p >= 0 && s.min_p <= 1)) throw InputError("min_p: must be in [0, 1]");
}

TokenId most_likely(const at::Tensor& row) {
    const float* values = row.data_ptr<float>();
    return static_cast<TokenId>(std::max_element(values, values + row.numel()) - values);
}

// The cuts look at likely tokens only. Those above 1e-4 are few and nearly always enough, and
// sorting 49,152 of them would take as long as half a decode step.
std::vector<Weighted> likely_first(const at::Tensor& probabilities, const SamplerSettings& settings) {
    const float* p = probabilities.data_ptr<float>();
    const auto collect = [&](float least) {
        std::vector<Weighted> found;
        for (int64_t i = 0; i < probabilities.numel(); ++i)
            if (p[i] >= least) found.push_back({static_cast<TokenId>(i), p[i]});
        return found;
    };
    std::vector<Weighted> tokens = collect(1e-4f);
    double mass = 0;
    for (const Weighted& token : tokens) mass += token.weight;
    const bool by_count = settings.top_k > 0 && tokens.size() >= static_cast<size_t>(settings.top_k);
    const bool by_mass = settings.top_k == 0 && settings.top_p < 1 && mass >= settings.top_p;
    const bool by_ratio = settings.min_p > 0 && settings.top_k == 0 && settings.top_p == 1 &&
                          settings.min_p * probabilities.max().item<float>() >= 1e-4f;
    if (!by_count && !by_mass && !by_ratio) tokens = collect(0.0f);
    std::sort(tokens.begin(), tokens.end(), more_likely);
    return tokens;
}

double mass_of(const std::vector<Weighted>& tokens) {
    double mass = 0;
    for (const Weighted& token : tokens) mass += token.weight;
    return mass;
}

void cut_top_k(std::vector<Weighted>& tokens, int32_t top_k) {
    if (top_k > 0 && tokens.size() > static_cast<size_t>(top_k)) tokens.resize(top_k);
}

void cut_top_p(std::vector<Weighted>& tokens, double top_p, double mass) {
    if (top_p >= 1) return;
    double sum = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
        sum += tokens[i].weight;
        if (sum >= top_p * mass) {
            tokens.resize(i + 1);
            return;
        }
    }
}

void cut_min_p(std::vector<Weighted>& tokens, double min_p) {
    const double least = min_p * tokens.front().weight;
    while (tokens.back().weight < least) tokens.pop_back();
}

TokenId draw(const std::vector<Weighted>& tokens, double uniform) {
    double left = uniform * mass_of(tokens);
    for (const Weighted& token : tokens) {
        left -= token.weight;
        if (left < 0) return token.id;
    }
    return tokens.back().id;
}

std::vector<Weighted> in_id_order(const at::Tensor& probabilities) {
    const float* p = probabilities.data_ptr<float>();
    std::vector<Weighted> tokens;
    tokens.reserve(probabilities.numel());
    for (int64_t i = 0; i < probabilities.numel(); ++i)
        if (p[i] > 0) tokens.push_back({static_cast<TokenId>(i), p[i]});
    return tokens;
}

}  // namespace

double token_uniform(uint64_t seed, int64_t token_index) {
    constexpr uint64_t golden = 0x9e3779b97f4a7c15u;
    const uint64_t key = mixed(seed + golden);
    const uint64_t bits = mixed(key + golden * (static_cast<uint64_t>(token_index) + 1));
    return static_cast<double>(bits >> 11) * 0x1p-53;
}

TokenId sample(const at::Tensor& logits, const SamplerSettings& settings, int64_t token_index) {
    check(settings);
    const at::Tensor row = checked_row(logits);
    if (settings.greedy) return most_likely(row);
    const at::Tensor probabilities = at::softmax(row.div(settings.temperature), 0);
    const double uniform = token_uniform(settings.seed, token_index);
    if (settings.top_k == 0 && settings.top_p >= 1 && settings.min_p <= 0)
        return draw(in_id_order(probabilities), uniform);
    std::vector<Weighted> tokens = likely_first(probabilities, settings);
    cut_top_k(tokens, settings.top_k);
    // Without top-k the mass is 1 by definition, also where the unlikely tokens were left out.
    cut_top_p(tokens, settings.top_p, settings.top_k > 0 ? mass_of(tokens) : 1.0);
    cut_min_p(tokens, settings.min_p);
    return draw(tokens, uniform);
}

Distribution describe(const at::Tensor& logits, int64_t top) {
    const at::Tensor row = checked_row(logits);
    const at::Tensor log_p = at::log_softmax(row, 0), p = log_p.exp();
    Distribution result;
    // A token that cannot occur has log p = -inf and contributes nothing.
    result.entropy = -p.mul(log_p.clamp_min(-1e30)).sum().item<float>();
    const float* values = p.data_ptr<float>();
    const size_t wanted = static_cast<size_t>(std::clamp<int64_t>(top, 0, row.numel()));
    std::vector<Weighted> best;
    for (int64_t i = 0; wanted && i < row.numel(); ++i) {
        if (best.size() == wanted && values[i] <= best.back().weight) continue;
        const Weighted token{static_cast<TokenId>(i), values[i]};
        if (best.size() == wanted) best.pop_back();
        best.insert(std::upper_bound(best.begin(), best.end(), token, more_likely), token);
    }
    for (const Weighted& token : best) result.top.push_back({token.id, static_cast<float>(token.weight)});
    return result;
}

float log_probability(const at::Tensor& logits, TokenId token) {
    const at::Tensor row = checked_row(logits);
    if (token < 0 || token >= row.numel())
        throw InputError("token: id " + std::to_string(token) + " is not in the vocabulary");
    return row.data_ptr<float>()[token] - at::logsumexp(row, 0).item<float>();
}

at::Tensor kl_divergence(const at::Tensor& p_logits, const at::Tensor& q_logits) {
    const bool one_row = q_logits.dim() == 2 && p_logits.sizes() == q_logits.sizes().slice(1);
    if (p_logits.sizes() != q_logits.sizes() && !one_row)
        throw InputError("kl_divergence: the two have different shapes");
    const at::Tensor log_p = at::log_softmax(p_logits.to(at::kDouble), -1),
                     log_q = at::log_softmax(q_logits.to(at::kDouble), -1);
    const at::Tensor p = log_p.exp();
    const at::Tensor terms = at::where(p > 0, p * (log_p - log_q), at::zeros_like(p));
    return terms.sum(-1).clamp_min(0).to(at::kFloat);
}

}  // namespace savepoint
