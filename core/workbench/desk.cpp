#include "core/workbench/desk.h"

#include <algorithm>

#include "core/model/error.h"
#include "core/workbench/rows_task.h"
#include "core/workbench/views.h"

namespace savepoint {

Desk::Desk(WorkbenchOptions options_in, std::function<void()> wake_in)
    : options(std::move(options_in)),
      wake(std::move(wake_in)),
      mark_threshold(options.mark_threshold),
      memory(options.memory_budget),
      tasks(notices) {}

const LoadedModel& Desk::need_model() const {
    if (!model) throw InputError("no model is loaded; open a model file first");
    return *model;
}

const Sidecar& Desk::need_sidecar() const {
    if (!fit.sidecar) throw InputError("no sidecar is fitted for this model yet; fit or load one first");
    return *fit.sidecar;
}

ThoughtGraph::Owner Desk::locate(const TokenRef& token) const {
    const int64_t length = graph.path_length(token.thought);
    if (token.position < 0 || token.position >= length) {
        throw InputError("token " + std::to_string(token.position) + " is not there: the path of thought " +
                         std::to_string(token.thought) + " has " + std::to_string(length) + " tokens");
    }
    return graph.owner(token.thought, token.position);
}

void Desk::set_current(ThoughtId thought) {
    if (thought != 0) graph.at(thought);
    current = thought;
    memory.shown(graph, thought);
    publisher.path_changed();
    analyses.wake();
}

void Desk::select(const TokenRef& token) {
    selected = {locate(token).thought, token.position};
    preview.clear();
    publisher.set_preview(nullptr);
    publisher.touch();
    analyses.clear_edit(*this);
    refresh_latent();
}

void Desk::keep_selection() {
    const int64_t length = current == 0 ? 0 : graph.path_length(current);
    if (length == 0) return;
    const bool known = graph.contains(selected.thought) && selected.position < graph.path_length(selected.thought);
    if (!known) return select({current, length - 1});
    const int64_t shared = graph.shared_prefix(selected.thought, current);
    if (selected.position < shared) return;
    select({current, shared > 0 ? std::min(selected.position, length - 1) : length - 1});
}

void Desk::want_selected_rows() {
    if (!fit.sidecar || !graph.contains(selected.thought) || tasks.has(TaskKind::rows)) return;
    const auto path = graph.path(selected.thought);
    if (std::any_of(path.begin(), path.end(), [&](const PathSpan& s) { return rows_refused.contains(s.thought); }))
        return;
    request_rows(*this, selected.thought);
}

void Desk::graph_changed() {
    session.modified = true;
    publisher.touch();
}

void Desk::replace_graph(ThoughtGraph replacement, ThoughtId now_current) {
    graph = std::move(replacement);
    if (live) live->forget();
    if (scratch) scratch->forget();
    analyses.clear();
    projection.clear();
    preview.clear();
    rows_refused.clear();
    memory.forget();
    selected = {};
    trajectory = {};
    publisher.graph_replaced();
    set_current(now_current);
}

void Desk::adopt_fit(ReferenceFit::Result result) {
    fit = std::move(result);
    references.sidecar_changed(*this);
    analyses.clear();
    projection.sidecar_changed();
    preview.clear();
    publisher.set_preview(nullptr);
    publisher.set_sidecar(sidecar_view(*this));
    refresh_latent();
}

void Desk::refresh_latent() { publisher.set_latent(latent_view(*this)); }

}  // namespace savepoint
