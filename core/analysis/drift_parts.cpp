#include "core/analysis/drift_parts.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kChunk = 64;

at::Tensor index_of(const std::vector<int64_t>& positions) { return at::tensor(positions, at::kLong); }

}  // namespace

void check_run(const StateRun& run, const std::string& name) {
    if (run.ids.empty()) throw InputError(name + ": the run has no tokens");
    if (!run.rows.has_hidden() || !run.rows.has_kv() || run.rows.tokens() != static_cast<int64_t>(run.ids.size()))
        throw InputError(name + ": hidden states, keys and values of every token are needed");
}

PartReader::PartReader(const Transformer& model, const StateRun& run, std::shared_ptr<const Phi> phi,
                       std::shared_ptr<const Sidecar> sidecar)
    : run_(run), phi_(std::move(phi)), sidecar_(std::move(sidecar)) {
    check_run(run_, "run");
    phi_keys_ = phi_->settings().rotary ? model.rotate(run_.rows.key, 0) : run_.rows.key;
    if (sidecar_) latents_ = sidecar_->hidden().encode(run_.rows.hidden).to(at::kFloat);
}

int64_t PartReader::rows(DriftPart part) const {
    if (part == DriftPart::latent) return latents_.defined() ? latents_.size(1) : 0;
    return run_.rows.hidden.size(1);
}

int64_t PartReader::heads(DriftPart part) const {
    return part == DriftPart::hidden || part == DriftPart::latent ? 1 : run_.rows.key.size(2);
}

at::Tensor PartReader::read(DriftPart part, int64_t row, const std::vector<int64_t>& positions) const {
    switch (part) {
        case DriftPart::hidden:
            return run_.rows.hidden.select(1, row).index_select(0, index_of(positions)).unsqueeze(1);
        case DriftPart::key:
            return run_.rows.key.select(1, row).index_select(0, index_of(positions));
        case DriftPart::value:
            return run_.rows.value.select(1, row).index_select(0, index_of(positions));
        case DriftPart::latent:
            return latents_.select(1, row).index_select(0, index_of(positions)).unsqueeze(1);
        default:
            return states(row, positions);
    }
}

// S_t / n_t row by row does not change when a feature is scaled: of exponentials each by its largest value in the run,
// in float64, since early tokens may be far below it. A feature that was never met is a row of zeros.
at::Tensor PartReader::states(int64_t layer, const std::vector<int64_t>& positions) const {
    const Phi phi = phi_->of_layer(layer);
    const auto type = phi.exponential() ? at::kDouble : at::kFloat;
    at::Tensor features = phi.keys(phi_keys_.narrow(1, layer, 1).to(type)).select(1, 0);  // [tokens, kv_heads, f]
    if (phi.exponential()) features = (features - features.amax({0}, true)).exp();
    const at::Tensor values = run_.rows.value.select(1, layer).to(type);
    at::Tensor s = at::zeros({1, features.size(1), features.size(2), values.size(2)}, type);
    at::Tensor n = at::zeros({1, features.size(1), features.size(2)}, type);
    std::vector<at::Tensor> found;
    auto wanted = positions.begin();
    for (int64_t first = 0; first < values.size(0) && wanted != positions.end(); first += kChunk) {
        const int64_t count = std::min(kChunk, values.size(0) - first);
        const at::Tensor f = features.narrow(0, first, count), v = values.narrow(0, first, count);
        std::vector<int64_t> here;
        for (; wanted != positions.end() && *wanted < first + count; ++wanted) here.push_back(*wanted - first);
        if (here.empty()) {
            s = s + at::einsum("tkf,tkd->kfd", {f, v});
            n = n + f.sum(0, true);
            continue;
        }
        const at::Tensor sums = (f.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(0) + s, counts = f.cumsum(0) + n;
        const at::Tensor chosen = index_of(here), at_s = sums.index_select(0, chosen);
        const at::Tensor seen = (chosen + (first + 1)).to(type).view({-1, 1, 1, 1});
        const at::Tensor by = phi.is_signed() ? seen : counts.index_select(0, chosen).unsqueeze(-1);
        found.push_back((at_s / by).masked_fill(by == 0, 0).flatten(2).to(at::kFloat));
        s = sums.narrow(0, count - 1, 1).clone();
        n = counts.narrow(0, count - 1, 1).clone();
    }
    return at::cat(found);
}

at::Tensor row_distances(const at::Tensor& a, const at::Tensor& b) {
    return (a - b).square_().sum(-1, false, at::kDouble).sqrt_().to(at::kFloat);
}

}  // namespace savepoint
