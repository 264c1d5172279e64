#include "core/analysis/drift_scale.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/fit.h"

namespace savepoint {
namespace {

constexpr int64_t kDecodePiece = 8;      // tokens a step
constexpr uint64_t kSeed = 20;           // of the texts: other ones than a default fit draws first
constexpr double kSmallestShare = 1e-6;  // of a row's own norm: where two runs are the same by construction

// Every position of the first buckets, every fourth of the others: states are large.
std::vector<int64_t> measured_positions(int64_t length) {
    std::vector<int64_t> positions;
    for (int64_t t = 0; t < length; t += t < 8 ? 1 : 4) positions.push_back(t);
    return positions;
}

}  // namespace

int64_t DriftScale::bucket(int64_t position) {
    int64_t bucket = 0;
    for (int64_t end = 1; position >= end && bucket < kBuckets - 1; end *= 2) ++bucket;
    return bucket;
}

const DriftScale::Part& DriftScale::part(DriftPart part) const {
    const auto found = parts_.find(part);
    if (found == parts_.end()) throw InputError("drift: " + to_string(part) + " was not fitted");
    return found->second;
}

DriftScaleFit::DriftScaleFit(const Transformer& model, std::vector<std::vector<TokenId>> sequences,
                             std::shared_ptr<const Phi> phi, std::shared_ptr<const Sidecar> sidecar)
    : model_(model), sequences_(std::move(sequences)), sidecar_(std::move(sidecar)) {
    scale_->phi_ = std::move(phi);
    if (sequences_.size() < 2) throw InputError("drift: at least two unrelated texts are needed");
    for (const auto& sequence : sequences_)
        if (sequence.size() < 8 || sequence.size() != sequences_.front().size())
            throw InputError("drift: unrelated texts of one length, of at least 8 tokens, are needed");
    scale_->runs_ = static_cast<int64_t>(sequences_.size());
    scale_->length_ = static_cast<int64_t>(sequences_.front().size());
    for (const DriftPart part : kDriftParts) {
        if (part == DriftPart::latent && !sidecar_) continue;
        const int64_t rows = part == DriftPart::latent ? static_cast<int64_t>(sidecar_->hidden().groups().size())
                                                       : model.config().layers;
        const int64_t heads = part == DriftPart::hidden || part == DriftPart::latent ? 1 : model.config().kv_heads;
        scale_->parts_[part] = {at::ones({DriftScale::kBuckets, rows, heads}), 0};
        for (int64_t row = 0; row < rows; ++row) left_.emplace_back(part, row);
    }
    all_ = left_.size();
}

bool DriftScaleFit::step() {
    if (runs_.size() < sequences_.size()) {
        run_next();
        return true;
    }
    if (!again_ && decode_next()) return true;
    if (left_.empty()) return false;
    const auto [part, row] = left_.back();
    left_.pop_back();
    measure(part, row);
    return !left_.empty();
}

void DriftScaleFit::run_next() {
    StateRun run{sequences_[runs_.size()], {}};
    KvCache cache = model_.make_cache(scale_->length_);
    ForwardOptions options;
    options.logits = Logits::none;
    run.rows = model_.prefill(cache, run.ids, options).rows;
    readers_.push_back(std::make_unique<PartReader>(model_, run, scale_->phi_, sidecar_));
    runs_.push_back(std::move(run));
}

bool DriftScaleFit::decode_next() {
    if (!cache_) cache_ = std::make_unique<KvCache>(model_.make_cache(scale_->length_));
    ForwardOptions options;
    options.logits = Logits::none;
    const auto& ids = sequences_.front();
    for (int64_t i = 0; i < kDecodePiece && decoded_.size() < ids.size(); ++i)
        decoded_.push_back(model_.decode(*cache_, ids[decoded_.size()], options).rows);
    if (decoded_.size() < ids.size()) return true;
    again_ = std::make_unique<PartReader>(model_, StateRun{ids, concat(decoded_)}, scale_->phi_, sidecar_);
    cache_.reset();
    return true;
}

void DriftScaleFit::measure(DriftPart part, int64_t row) {
    const std::vector<int64_t> positions = measured_positions(scale_->length_);
    std::vector<at::Tensor> read;
    for (const auto& reader : readers_) read.push_back(reader->read(part, row, positions));
    std::vector<at::Tensor> apart;
    for (size_t i = 0; i < read.size(); ++i)
        for (size_t j = i + 1; j < read.size(); ++j) apart.push_back(row_distances(read[i], read[j]));
    const at::Tensor distances = at::stack(apart);                                       // [pairs, positions, heads]
    const at::Tensor norms = row_distances(read.front(), at::zeros_like(read.front()));  // [positions, heads]
    DriftScale::Part& out = scale_->parts_.at(part);
    for (int64_t bucket = 0; bucket < DriftScale::kBuckets; ++bucket) {
        std::vector<int64_t> of_bucket;
        for (size_t p = 0; p < positions.size(); ++p)
            if (DriftScale::bucket(positions[p]) == bucket) of_bucket.push_back(static_cast<int64_t>(p));
        if (of_bucket.empty()) {  // texts too short for it: as the one before
            out.typical[bucket].select(0, row).copy_(out.typical[bucket - 1].select(0, row));
            continue;
        }
        const at::Tensor at_positions = at::tensor(of_bucket, at::kLong);
        const at::Tensor median = std::get<0>(distances.index_select(1, at_positions).flatten(0, 1).median(0));
        const at::Tensor floor = norms.index_select(0, at_positions).mean(0).mul_(kSmallestShare).clamp_min_(1e-30);
        out.typical[bucket].select(0, row).copy_(at::maximum(median, floor));
    }
    const at::Tensor moved = row_distances(again_->read(part, row, positions), read.front());
    for (size_t p = 0; p < positions.size(); ++p) {
        const at::Tensor typical = out.typical[DriftScale::bucket(positions[p])].select(0, row);
        out.noise = std::max(out.noise, (moved[static_cast<int64_t>(p)] / typical).max().item<double>());
    }
}

double DriftScaleFit::progress() const {
    const auto part = [](size_t done, size_t all) {
        return static_cast<double>(done) / static_cast<double>(std::max<size_t>(1, all));
    };
    return 0.4 * part(runs_.size(), sequences_.size()) + 0.2 * part(decoded_.size(), sequences_.front().size()) +
           0.4 * part(all_ - left_.size(), all_);
}

std::string DriftScaleFit::stage() const {
    if (runs_.size() < sequences_.size())
        return "unrelated text " + std::to_string(runs_.size() + 1) + " of " + std::to_string(sequences_.size());
    if (!again_) return "the same text token by token";
    return left_.empty() ? "" : "distances of unrelated texts: " + to_string(left_.back().first);
}

std::shared_ptr<const DriftScale> DriftScaleFit::result() const {
    if (!left_.empty()) throw InputError("drift: the distances of unrelated texts are not measured yet");
    return scale_;
}

std::vector<std::vector<TokenId>> unrelated_texts(const Tokenizer& tokenizer, int64_t count, int64_t length) {
    const TokenSplit split = split_corpus(fortunes_corpus(), tokenizer, length, length, count * length, kSeed);
    return split.held_out;
}

}  // namespace savepoint
