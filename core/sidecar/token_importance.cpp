#include "core/sidecar/token_importance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/sensitivity.h"

namespace savepoint {

namespace {

constexpr int kMost = TokenImportance::kMost;
constexpr int kSymbols = 4 * kMost + 1;  // differences of two
constexpr double kLeastAttention = 1e-6;
constexpr double kRidge = 0.003;  // of a feature's variance

// f of a run: [tokens, 2 layers + 3].
at::Tensor features_of(const CodedRun& run) {
    const int64_t tokens = run.attention.size(0);
    const at::Tensor attention = (run.attention + kLeastAttention).log();
    const at::Tensor place = at::arange(tokens, at::kFloat);
    const at::Tensor from_end = (static_cast<double>(tokens) - place).log().unsqueeze(1);
    const at::Tensor position = (place + static_cast<double>(run.first_position + 1)).log().unsqueeze(1);
    return at::cat({attention, attention.square(), from_end, from_end.square(), position}, 1);
}

class Counter {
   public:
    explicit Counter(int64_t groups) : counts_(static_cast<size_t>(groups), std::vector<double>(kSymbols, 0.2)) {}
    void symbol(size_t group, int symbol) { counts_[group][static_cast<size_t>(symbol)] += 1; }
    const std::vector<std::vector<double>>& counts() const { return counts_; }

   private:
    std::vector<std::vector<double>> counts_;
};

// Calls visit(group, value, what it is coded beside) in the order of coding.
template <typename Visit>
void each(at::Tensor& coarser, Visit visit) {
    const int64_t tokens = coarser.size(0), groups = coarser.size(1);
    auto* value = coarser.data_ptr<int32_t>();
    for (int64_t t = 0; t < tokens; ++t)
        for (int64_t g = 0; g < groups; ++g, ++value)
            visit(static_cast<size_t>(g), *value, g > 0 ? value[-1] : t > 0 ? value[-groups] : 0);
}

}  // namespace

at::Tensor token_coarser(const at::Tensor& coarser, size_t group) {
    return coarser.defined() ? coarser.select(1, static_cast<int64_t>(group)) : at::Tensor();
}

at::Tensor relative_steps(const at::Tensor& coarser) {
    return coarser.defined() ? at::pow(2.0, coarser.to(at::kFloat) / 2).unsqueeze(1) : at::Tensor();
}

at::Tensor TokenImportance::coarser(const CodedRun& run) const {
    if (!run.attention.defined()) return at::zeros({run.rows.tokens(), groups()}, at::kInt);
    const at::Tensor f = (features_of(run) - mean_) / deviation_;
    const at::Tensor log_w = at::linear(f, weights_.slice(1, 0, f.size(1)), weights_.select(1, f.size(1)));
    return (log_w / -std::log(2.0)).round().clamp(-kMost, kMost).to(at::kInt).contiguous();
}

template <typename Coder>
void TokenImportance::walk(Coder& coder, at::Tensor& coarser) const {
    each(coarser, [&](size_t g, int32_t& value, int32_t beside) {
        int symbol = value - beside + 2 * kMost;
        coder.symbol(tables_[g], symbol);
        value = std::clamp(symbol - 2 * kMost + beside, -kMost, kMost);
    });
}

std::string TokenImportance::encode(const at::Tensor& coarser) const {
    at::Tensor copy = coarser.to(at::kInt).contiguous().clone();
    SymbolWriter writer;
    walk(writer, copy);
    return writer.finish();
}

at::Tensor TokenImportance::decode(const std::string& bytes, int64_t tokens) const {
    at::Tensor coarser = at::zeros({tokens, groups()}, at::kInt);
    SymbolReader reader(bytes);
    walk(reader, coarser);
    reader.finish();
    return coarser;
}

void TokenImportance::build() {
    tables_.clear();
    const at::Tensor rows = frequencies_.to(at::kInt).contiguous();
    for (int64_t g = 0; g < rows.size(0); ++g) {
        const int32_t* row = rows.const_data_ptr<int32_t>() + g * kSymbols;
        tables_.emplace_back(std::vector<uint16_t>(row, row + kSymbols));
    }
}

void TokenImportance::save(TensorFile& file) const {
    file.tensors["importance.mean"] = mean_;
    file.tensors["importance.deviation"] = deviation_;
    file.tensors["importance.weights"] = weights_;
    file.tensors["importance.frequencies"] = frequencies_;
    file.tensors["importance.finest"] = at::full({1}, static_cast<double>(finest_), at::kFloat);
}

TokenImportance TokenImportance::load(const TensorFields& fields, int64_t layers, int64_t groups) {
    const int64_t features = 2 * layers + 3;
    TokenImportance out;
    out.mean_ = fields.tensor("importance.mean", {features});
    out.deviation_ = fields.tensor("importance.deviation", {features});
    out.weights_ = fields.tensor("importance.weights", {groups, features + 1});
    out.frequencies_ = fields.tensor("importance.frequencies", {groups, kSymbols});
    if (!(out.deviation_.min().item<float>() > 0)) fields.refuse("importance.deviation", "is not above 0");
    if ((out.frequencies_ < 1).any().item<bool>() || (out.frequencies_ > 65535).any().item<bool>())
        fields.refuse("importance.frequencies", "is out of range");
    const double finest = fields.tensor("importance.finest", {1}).item<double>();
    if (std::abs(finest) > kMost) fields.refuse("importance.finest", "is out of range");
    out.finest_ = static_cast<int64_t>(finest);
    try {
        out.build();
    } catch (const InputError& error) {
        fields.refuse("importance.frequencies", error.what());
    }
    return out;
}

// --- fitting ------------------------------------------------------------------------------------------------

void TokenImportanceFit::add(const TransformCodec& codec, const std::vector<std::vector<TokenId>>& sequences,
                             int64_t prefix, int64_t exact_first) {
    if (codec.part() != CodedPart::kv) throw InputError("importance: the codec does not code keys and values alone");
    const SampledGradient sampled = sampled_gradient(model_, sequences, prefix, seed_ + draws_++);
    for (size_t i = 0; i < sequences.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        const std::span<const TokenId> ids = std::span(sequences[i]).first(static_cast<size_t>(prefix));
        const at::Tensor gradient = sampled.gradient[at].slice(0, exact_first);  // [tokens, layers, 2 kv_dim]
        std::vector<at::Tensor> groups;
        for (const TransformCodec::Group& group : codec.groups()) {
            const at::Tensor of_group =
                gradient.slice(1, group.blocks.first_block, group.blocks.last_block + 1).flatten(1);
            groups.push_back(at::matmul(of_group, group.decode.t()).square().mean(1));
        }
        energies_.push_back(at::stack(groups, 1));
        features_.push_back(features_of(coded_run(model_, sampled.rows.slice(at * prefix, prefix), ids, exact_first)));
    }
}

TokenImportance TokenImportanceFit::finish() const {
    if (features_.empty()) throw InputError("importance: no text was added");
    const at::Tensor f = at::cat(features_), energy = at::cat(energies_);
    const int64_t count = f.size(1), tokens = f.size(0);
    TokenImportance out;
    out.mean_ = f.mean(0);
    out.deviation_ = f.std(0, false).clamp_min(1e-4);
    const at::Tensor x = at::cat({(f - out.mean_) / out.deviation_, at::ones({tokens, 1})}, 1).to(at::kDouble);
    const at::Tensor y = (energy / energy.mean(0) + 1e-9).log().to(at::kDouble);
    at::Tensor ridge = at::eye(count + 1, at::kDouble) * (kRidge * static_cast<double>(tokens));
    ridge[count][count] = 0;
    at::Tensor weights = at::linalg_solve(at::matmul(x.t(), x) + ridge, at::matmul(x.t(), y));
    // The mean of w over tokens stays 1: what groups cost beside each other is the metric's to say.
    weights[count] -= at::matmul(x, weights).exp().mean(0).log();
    out.weights_ = weights.t().to(at::kFloat).contiguous();

    const at::Tensor log_w = at::matmul(x, weights);
    at::Tensor coarser = (log_w / -std::log(2.0)).round().clamp(-kMost, kMost).to(at::kInt).contiguous();
    Counter counter(coarser.size(1));
    each(coarser, [&](size_t g, int32_t& value, int32_t beside) { counter.symbol(g, value - beside + 2 * kMost); });
    out.frequencies_ = at::empty({coarser.size(1), kSymbols}, at::kFloat);
    for (int64_t g = 0; g < coarser.size(1); ++g) {
        const std::vector<uint16_t> row = FrequencyTable::scaled(counter.counts()[static_cast<size_t>(g)]);
        std::copy(row.begin(), row.end(), out.frequencies_[g].data_ptr<float>());
    }
    out.finest_ = at::quantile(coarser.flatten().to(at::kFloat), 0.01).item<int64_t>();
    out.build();
    return out;
}

}  // namespace savepoint
