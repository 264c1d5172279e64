#include "core/workbench/pruned_book.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/workbench/attended_rows.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

void append(std::vector<float>& to, const at::Tensor& tensor) {
    const at::Tensor flat = tensor.contiguous();
    const float* data = flat.const_data_ptr<float>();
    to.insert(to.end(), data, data + flat.numel());
}

}  // namespace

bool PrunedBook::is_of(const Desk& desk, ThoughtId thought) const {
    const auto reference = desk.references.active(desk);
    return states_ && reference && choice_ == reference->name() && pruning_ == desk.pruning && reaches(desk, thought);
}

bool PrunedBook::reaches(const Desk& desk, ThoughtId thought) const {
    if (thought_ == thought) return states_->tokens() <= desk.graph.path_length(thought);
    return desk.graph.contains(thought_) && desk.graph.shared_prefix(thought_, thought) >= states_->tokens();
}

bool PrunedBook::behind(const Desk& desk, ThoughtId thought, int64_t tokens) const {
    if (desk.pruning.kind == PruningKind::none || thought == 0 || !desk.references.active(desk)) return false;
    const int64_t scored = is_of(desk, thought) ? states_->tokens() : 0, length = desk.graph.path_length(thought);
    return scored < length && (scored == 0 || scored + tokens <= length);
}

void PrunedBook::advance(const Desk& desk, ThoughtId thought, int64_t tokens) {
    const auto reference = desk.references.active(desk);
    if (!is_of(desk, thought)) {
        choice_ = reference->name(), pruning_ = desk.pruning;
        states_ = std::make_unique<PrunedStates>(reference, pruning_);
        percentile_.clear(), distance_.clear(), token_percentile_.clear();
    }
    thought_ = thought;
    const int64_t done = states_->tokens(), count = std::min(tokens, desk.graph.path_length(thought) - done);
    const std::vector<TokenId> ids = desk.graph.path_tokens(thought);
    const FormRows features =
        states_->next(desk.transformer(), desk.graph.path_rows(thought, done, count),
                      std::span(ids).subspan(static_cast<size_t>(done), static_cast<size_t>(count)),
                      path_keys(desk.graph, thought, done + count), path_values(desk.graph, thought, done + count));
    const AnomalyScores scores = reference->score(features.values, done);
    append(percentile_, scores.percentile);
    append(distance_, scores.distance);
    append(token_percentile_, scores.token_percentile);
}

std::shared_ptr<const AnomalyView> PrunedBook::beside(const Desk& desk, std::shared_ptr<const AnomalyView> full) const {
    if (!full || desk.pruning.kind == PruningKind::none) return full;
    auto view = std::make_shared<AnomalyView>(*full);
    view->pruning = desk.pruning;
    if (!is_of(desk, full->thought)) return view;
    view->pruned_scored = states_->tokens();
    view->pruned_percentile = percentile_;
    view->pruned_distance = distance_;
    view->pruned_token_percentile = token_percentile_;
    return view;
}

}  // namespace savepoint
