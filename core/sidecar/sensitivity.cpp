#include "core/sidecar/sensitivity.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "core/model/error.h"

namespace savepoint {

SensitivityFit::SensitivityFit(const Transformer& model, uint64_t seed) : model_(model), seed_(seed) {
    const ModelConfig& c = model.config();
    sum_ = at::zeros({c.layers, 2 * c.kv_dim(), 2 * c.kv_dim()}, at::kFloat);
}

void SensitivityFit::add(const std::vector<std::vector<TokenId>>& sequences, int64_t prefix, int64_t exact_first) {
    const ModelConfig& c = model_.config();
    const auto batch = static_cast<int64_t>(sequences.size());
    if (batch == 0 || prefix <= exact_first || static_cast<int64_t>(sequences.front().size()) <= prefix)
        throw InputError("sensitivity: sequences longer than the prefix are needed");
    std::vector<std::vector<TokenId>> before, after;
    for (const auto& ids : sequences) {
        before.emplace_back(ids.begin(), ids.begin() + prefix);
        after.emplace_back(ids.begin() + prefix, ids.end());
    }
    ForwardOptions kept;
    kept.logits = Logits::none;
    const StateRows rows = model_.forward_batch(before, kept).rows;
    const std::vector<int64_t> shape{batch, prefix, c.layers, c.kv_heads, c.head_dim};
    const at::Tensor key = rows.key.reshape(shape).clone().set_requires_grad(true);
    const at::Tensor value = rows.value.reshape(shape).clone().set_requires_grad(true);

    const at::Tensor log_p = at::log_softmax(model_.logits_after(key, value, after), -1).flatten(0, 1);
    at::Generator generator = at::detail::createCPUGenerator(seed_ + draws_++);
    const at::Tensor drawn = at::multinomial(log_p.detach().exp().cpu(), 1, true, generator).to(log_p.device());
    log_p.gather(1, drawn).sum().backward();

    const at::Tensor gradient = at::cat({key.grad().flatten(3), value.grad().flatten(3)}, 3)
                                    .slice(1, exact_first)
                                    .flatten(0, 1)
                                    .transpose(0, 1)
                                    .cpu()
                                    .contiguous();  // [layers, tokens, 2 kv_dim]
    sum_.baddbmm_(gradient.transpose(1, 2), gradient);
    samples_ += gradient.size(1);
    weight_ += static_cast<double>(prefix - exact_first) / (2.0 * static_cast<double>(after.front().size()));
    batches_ += 1;
}

Sensitivity SensitivityFit::finish() const {
    if (samples_ == 0) throw InputError("sensitivity: no text was added");
    return {sum_ / static_cast<double>(samples_), weight_ / batches_, samples_};
}

}  // namespace savepoint
