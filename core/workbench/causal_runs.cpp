#include "core/workbench/causal_runs.h"

#include "core/model/error.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {

StateRun path_run(const Desk& desk, ThoughtId thought) {
    StateRun run{desk.graph.path_tokens(thought), desk.graph.path_rows(thought, 0, desk.graph.path_length(thought))};
    check_run(run, "thought " + std::to_string(thought));
    return run;
}

PatchRun patch_run(const Desk& desk, ThoughtId thought) {
    return {path_run(desk, thought), desk.graph.path_length(thought) - 1, desk.graph.path_edits(thought)};
}

std::shared_ptr<const RunPairView> run_pair_view(const Desk& desk, ThoughtId a, ThoughtId b,
                                                 const Alignment& alignment) {
    auto view = std::make_shared<RunPairView>();
    view->a = a, view->b = b;
    const std::vector<TokenId> ids_a = desk.graph.path_tokens(a), ids_b = desk.graph.path_tokens(b);
    view->tokens_a = static_cast<int64_t>(ids_a.size());
    view->tokens_b = static_cast<int64_t>(ids_b.size());
    view->shared = alignment.shared;
    view->pairs = alignment.pairs;
    for (const AlignedPair& pair : alignment.pairs) {
        view->text_a.push_back(token_text(desk, ids_a[static_cast<size_t>(pair.a)]));
        view->text_b.push_back(token_text(desk, ids_b[static_cast<size_t>(pair.b)]));
        view->owner_a.push_back(desk.graph.owner(a, pair.a).thought);
        view->owner_b.push_back(desk.graph.owner(b, pair.b).thought);
    }
    return view;
}

float recovered(const PatchView& view, float logit_difference) {
    const float all = view.source.logit_difference - view.destination.logit_difference;
    return std::abs(all) < 1e-3f ? NAN : (logit_difference - view.destination.logit_difference) / all;
}

}  // namespace savepoint
