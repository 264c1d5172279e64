#include "core/analysis/drift_parts.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/analysis/linear_attention.h"
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

PartReader::PartReader(const StateRun& run, FeatureMap map, std::shared_ptr<const Sidecar> sidecar)
    : run_(run), map_(map), sidecar_(std::move(sidecar)) {
    check_run(run_, "run");
    if (sidecar_) latents_ = sidecar_->encode({run_.rows.hidden, {}, {}, {}}).hidden.to(at::kFloat);
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

at::Tensor PartReader::states(int64_t layer, const std::vector<int64_t>& positions) const {
    const at::Tensor keys = run_.rows.key.narrow(1, layer, 1), values = run_.rows.value.narrow(1, layer, 1);
    LinearAttentionState before;
    before.map = map_;
    std::vector<at::Tensor> found;
    auto wanted = positions.begin();
    for (int64_t first = 0; first < keys.size(0) && wanted != positions.end(); first += kChunk) {
        const int64_t count = std::min(kChunk, keys.size(0) - first);
        const at::Tensor k = keys.narrow(0, first, count), v = values.narrow(0, first, count);
        std::vector<int64_t> here;
        for (; wanted != positions.end() && *wanted < first + count; ++wanted) here.push_back(*wanted - first);
        if (!here.empty()) {
            const LinearAttentionStates sums = prefix_states(k, v, map_);
            const at::Tensor chosen = index_of(here);
            at::Tensor s = sums.s.index_select(0, chosen).squeeze(1), n = sums.n.index_select(0, chosen).squeeze(1);
            if (before.s.defined()) s = s + before.s, n = n + before.n;
            const at::Tensor seen = (chosen + (first + 1)).to(at::kFloat).view({-1, 1, 1, 1});
            found.push_back((map_ == FeatureMap::identity ? s / seen : s / n.unsqueeze(-1)).flatten(2));
        }
        if (wanted != positions.end()) before.add_all(k, v);
    }
    return at::cat(found);
}

at::Tensor row_distances(const at::Tensor& a, const at::Tensor& b) {
    return (a - b).square_().sum(-1, false, at::kDouble).sqrt_().to(at::kFloat);
}

}  // namespace savepoint
