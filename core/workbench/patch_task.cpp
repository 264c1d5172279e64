#include "core/workbench/patch_task.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/model/error.h"
#include "core/workbench/causal_runs.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr auto kPublishPeriod = std::chrono::milliseconds(150);

void check_end(int64_t end, int64_t tokens, const char* name) {
    if (end >= tokens)
        throw InputError(std::string("patching: the outcome's token ") + std::to_string(end) + " is not in the " +
                         name + " of " + std::to_string(tokens) + " tokens");
}

}  // namespace

PatchTask::PatchTask(Desk& desk, PatchRequest request)
    : Task(TaskKind::causal, "Patching activations"),
      desk_(desk),
      request_(std::move(request)),
      alignment_(align(desk.graph.path_tokens(request_.source), desk.graph.path_tokens(request_.destination))),
      runs_(run_pair_view(desk, request_.source, request_.destination, alignment_)) {
    if (alignment_.pairs.empty()) throw InputError("patching: the two thoughts have no token in common");
    check_end(request_.source_end, runs_->tokens_a, "source");
    check_end(request_.destination_end, runs_->tokens_b, "destination");
    keep_known();
    publish(CausalState::running);
}

Step PatchTask::step() {
    if (!map_) {
        begin();
        publish(CausalState::running);
        return Step::again;
    }
    const bool more = map_->step();
    if (!more) {
        publish(CausalState::done);
        return Step::done;
    }
    if (std::chrono::steady_clock::now() - published_ > kPublishPeriod) publish(CausalState::running);
    return Step::again;
}

// What each run goes on with after the outcome's token tells the outcomes apart, where both go on and differ.
void PatchTask::choose_outcome(PatchRun& source, PatchRun& destination) {
    if (request_.source_end < 0 || request_.destination_end < 0) {
        const auto first = first_outcome(source.state, destination.state, alignment_.pairs);
        const AlignedPair& pair = first ? alignment_.pairs[static_cast<size_t>(*first)] : alignment_.pairs.back();
        request_.source_end = pair.a, request_.destination_end = pair.b;
    }
    source.end = request_.source_end, destination.end = request_.destination_end;
    const auto a = static_cast<size_t>(source.end) + 1, b = static_cast<size_t>(destination.end) + 1;
    if (request_.target >= 0 || request_.distractor >= 0) return;
    if (a < source.state.ids.size() && b < destination.state.ids.size() &&
        source.state.ids[a] != destination.state.ids[b])
        request_.target = source.state.ids[a], request_.distractor = destination.state.ids[b];
}

void PatchTask::begin() {
    PatchRun source = patch_run(desk_, request_.source), destination = patch_run(desk_, request_.destination);
    choose_outcome(source, destination);
    patching_ =
        std::make_unique<Patching>(desk_.transformer(), std::move(source), std::move(destination), alignment_.pairs);
    const PatchTarget likely = default_target(patching_->source_logits(), patching_->destination_logits());
    if (request_.target < 0) request_.target = likely.target;
    if (request_.distractor < 0)
        request_.distractor = likely.distractor == request_.target ? likely.target : likely.distractor;
    map_ = std::make_unique<PatchMap>(*patching_, request_.settings, PatchTarget{request_.target, request_.distractor});
}

// A further map of the same outcome comes beside those that are there.
void PatchTask::keep_known() {
    const auto before = desk_.publisher.patch();
    if (!before) return;
    const auto outcome = [](const PatchRequest& r) {
        return std::tuple(r.source, r.destination, r.source_end, r.destination_end, r.target, r.distractor);
    };
    if (outcome(before->request) != outcome(request_)) return;
    const PatchSettings& asked = request_.settings;
    for (const PatchScores& known : before->maps) {
        const bool again = known.head_layer < 0
                               ? std::find(asked.sites.begin(), asked.sites.end(), known.site) != asked.sites.end()
                               : known.head_layer == asked.head_layer;
        const bool complete = std::none_of(known.kl.begin(), known.kl.end(), [](float kl) { return std::isnan(kl); });
        if (complete && !again) known_.push_back(known);
    }
}

void PatchTask::publish(CausalState state, const std::string& error) {
    auto view = std::make_shared<PatchView>();
    view->state = state;
    view->progress = progress();
    view->stage = stage();
    view->error = error;
    view->request = request_;
    view->runs = runs_;
    if (map_) {
        view->usable_pairs = patching_->usable_pairs();
        view->target = token_text(desk_, request_.target);
        view->distractor = token_text(desk_, request_.distractor);
        view->source = map_->source();
        view->destination = map_->destination();
        view->maps = known_;
        view->maps.insert(view->maps.end(), map_->maps().begin(), map_->maps().end());
        view->cells_run = map_->cells_run();
    }
    published_ = std::chrono::steady_clock::now();
    view->seconds = std::chrono::duration<double>(published_ - started_).count();
    desk_.publisher.set_patch(std::move(view));
}

}  // namespace savepoint
