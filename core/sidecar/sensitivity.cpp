#include "core/sidecar/sensitivity.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "core/model/error.h"

namespace savepoint {

SampledGradient sampled_gradient(const Transformer& model, const std::vector<std::vector<TokenId>>& sequences,
                                 int64_t prefix, uint64_t seed) {
    const ModelConfig& c = model.config();
    const auto batch = static_cast<int64_t>(sequences.size());
    if (batch == 0 || prefix < 1 || static_cast<int64_t>(sequences.front().size()) <= prefix)
        throw InputError("sensitivity: sequences longer than the prefix are needed");
    std::vector<std::vector<TokenId>> before, after;
    for (const auto& ids : sequences) {
        before.emplace_back(ids.begin(), ids.begin() + prefix);
        after.emplace_back(ids.begin() + prefix, ids.end());
    }
    ForwardOptions kept;
    kept.logits = Logits::none;
    SampledGradient out;
    out.rows = model.forward_batch(before, kept).rows;
    const std::vector<int64_t> shape{batch, prefix, c.layers, c.kv_heads, c.head_dim};
    const at::Tensor key = out.rows.key.reshape(shape).clone().set_requires_grad(true);
    const at::Tensor value = out.rows.value.reshape(shape).clone().set_requires_grad(true);

    const at::Tensor log_p = at::log_softmax(model.logits_after(key, value, after), -1).flatten(0, 1);
    at::Generator generator = at::detail::createCPUGenerator(seed);
    const at::Tensor drawn = at::multinomial(log_p.detach().exp().cpu(), 1, true, generator).to(log_p.device());
    log_p.gather(1, drawn).sum().backward();
    out.gradient = at::cat({key.grad().flatten(3), value.grad().flatten(3)}, 3).cpu();
    return out;
}

SensitivityFit::SensitivityFit(const Transformer& model, uint64_t seed) : model_(model), seed_(seed) {
    const ModelConfig& c = model.config();
    sum_ = at::zeros({c.layers, 2 * c.kv_dim(), 2 * c.kv_dim()}, at::kFloat);
}

void SensitivityFit::add(const std::vector<std::vector<TokenId>>& sequences, int64_t prefix, int64_t exact_first) {
    if (prefix <= exact_first) throw InputError("sensitivity: sequences longer than the prefix are needed");
    const at::Tensor gradient = sampled_gradient(model_, sequences, prefix, seed_ + draws_++)
                                    .gradient.slice(1, exact_first)
                                    .flatten(0, 1)
                                    .transpose(0, 1)
                                    .contiguous();  // [layers, tokens, 2 kv_dim]
    sum_.baddbmm_(gradient.transpose(1, 2), gradient);
    samples_ += gradient.size(1);
    weight_ += static_cast<double>(prefix - exact_first) /
               (2.0 * static_cast<double>(static_cast<int64_t>(sequences.front().size()) - prefix));
    batches_ += 1;
}

Sensitivity SensitivityFit::finish() const {
    if (samples_ == 0) throw InputError("sensitivity: no text was added");
    return {sum_ / static_cast<double>(samples_), weight_ / batches_, samples_};
}

}  // namespace savepoint
