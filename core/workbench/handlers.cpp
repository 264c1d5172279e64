#include "core/workbench/handlers.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/workbench/compare_task.h"
#include "core/workbench/diagnosis_task.h"
#include "core/workbench/drift_task.h"
#include "core/workbench/export_task.h"
#include "core/workbench/experiment_task.h"
#include "core/workbench/fit_task.h"
#include "core/workbench/generation.h"
#include "core/workbench/latent_task.h"
#include "core/workbench/lens_task.h"
#include "core/workbench/load_task.h"
#include "core/workbench/patch_task.h"
#include "core/workbench/phi_ranking_task.h"
#include "core/workbench/projection_task.h"
#include "core/workbench/reference_task.h"
#include "core/workbench/resume_task.h"
#include "core/workbench/rows_task.h"
#include "core/workbench/session_task.h"
#include "core/workbench/train_task.h"
#include "core/workbench/try_codec_task.h"

namespace savepoint {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

bool generates(const Command& command) {
    return std::holds_alternative<command::Generate>(command) || std::holds_alternative<command::Continue>(command) ||
           std::holds_alternative<command::BranchHere>(command) ||
           std::holds_alternative<command::ReplaceToken>(command) ||
           std::holds_alternative<command::ResumeEdit>(command);
}

class Handler {
   public:
    Handler(Desk& desk, const Received& received) : desk_(desk), received_(received) {}

    void operator()(const command::LoadModel& c) {
        desk_.tasks.stop(TaskKind::load);
        desk_.tasks.add(std::make_unique<LoadTask>(desk_, c.path));
    }

    void operator()(const command::Generate& c) {
        if (waits_for_generation() || (c.after != 0 && !kv_is_there(c.after))) return;
        generate(plan(desk_, c));
    }
    void operator()(const command::Continue& c) {
        if (waits_for_generation() || !kv_is_there(c.thought)) return;
        generate(plan(desk_, c));
    }
    void operator()(const command::BranchHere& c) {
        if (waits_for_generation() || !kv_is_there(c.at.thought)) return;
        generate(plan(desk_, c));
    }
    void operator()(const command::ReplaceToken& c) {
        if (waits_for_generation() || !kv_is_there(c.at.thought)) return;
        generate(plan(desk_, c));
    }
    void operator()(const command::ResumeEdit& c) {
        if (waits_for_generation() || !edit_rows_are_there(c.at, c.edits)) return;
        generate(plan(desk_, c));
    }

    void operator()(const command::Stop&) {
        desk_.generations.clear();
        std::erase_if(desk_.held, [](const Received& r) { return generates(r.command); });
        std::erase_if(desk_.after_rows, [](const Received& r) { return generates(r.command); });
        desk_.tasks.stop(TaskKind::generation);
    }

    void operator()(const command::Select& c) {
        desk_.select(c.token);
        allow_rows(c.token.thought);
    }
    void operator()(const command::SetCurrent& c) {
        show_path(c.thought);
        allow_rows(c.thought);
        desk_.keep_selection();
    }
    void operator()(const command::RewindHere& c) {
        const ThoughtId owner = desk_.locate(c.token).thought;
        show_path(owner);
        (*this)(command::Select{{owner, c.token.position}});
    }

    void operator()(const command::Rename& c) {
        annotate(c.thought, [&](Thought& t) { t.label = c.label; });
    }
    void operator()(const command::SetNote& c) {
        annotate(c.thought, [&](Thought& t) { t.note = c.note; });
    }
    void operator()(const command::Bookmark& c) {
        annotate(c.thought, [&](Thought& t) { t.bookmarked = c.on; });
    }
    void operator()(const command::RemoveThought& c) { remove(c.thought); }

    void operator()(const command::PreviewEdit& c) {
        if (c.edits.empty()) return clear_preview();
        desk_.need_sidecar();
        desk_.locate(c.at);
        if (desk_.tasks.has(TaskKind::preview)) {
            desk_.waiting_preview = received_;
        } else if (edit_rows_are_there(c.at, c.edits)) {
            desk_.tasks.add(std::make_unique<PreviewTask>(desk_, c, received_.at));
        }
    }

    void operator()(const command::SetAnomalyChoice& c) { desk_.references.want(desk_, c.choice); }
    void operator()(const command::FitReference&) {
        desk_.tasks.stop(TaskKind::reference);
        desk_.tasks.add(std::make_unique<ReferenceTask>(desk_, desk_.references.wanted()));
    }
    void operator()(const command::SetPruning& c) {
        if (c.pruning.count < 1 || c.pruning.count > kLargestPruning)
            throw InputError("a pruned cache keeps at least one token");
        desk_.pruning = c.pruning;
        desk_.publisher.touch();
        desk_.analyses.wake();
        desk_.analyses.show(desk_);
    }
    void operator()(const command::SetMarkThreshold& c) {
        if (!(c.percentile >= 0 && c.percentile <= 100))
            throw InputError("the threshold of marks is a percentile: from 0 to 100");
        desk_.mark_threshold = c.percentile;
        desk_.publisher.marks_changed(desk_);
    }
    void operator()(const command::SetTrajectory& c) { set_trajectory(c); }
    void operator()(const command::Project& c) {
        if (c.settings.source != ProjectionSource::file) {
            desk_.need_model();
            for (const int64_t thought : c.settings.thoughts) desk_.graph.at(thought);
            for (const PathSpan& span : spans_in_scope(desk_, c.settings))
                if (span.thought != desk_.generating && !rows_are_there(span.thought)) return;
        }
        desk_.tasks.stop(TaskKind::project);
        desk_.tasks.add(std::make_unique<ProjectionTask>(desk_, c.settings));
    }
    void operator()(const command::CompareRuns& c) {
        if (!both_are_there(c.a, c.b)) return;
        desk_.tasks.stop(TaskKind::causal);
        desk_.tasks.add(std::make_unique<DriftTask>(desk_, c.a, c.b, c.settings));
    }
    void operator()(const command::PatchRuns& c) {
        if (!both_are_there(c.request.source, c.request.destination)) return;
        desk_.tasks.stop(TaskKind::causal);
        desk_.tasks.add(std::make_unique<PatchTask>(desk_, c.request));
    }
    void operator()(const command::ReadThroughLens& c) {
        if (!both_are_there(c.request.thought, c.request.thought)) return;
        desk_.tasks.stop(TaskKind::causal);
        desk_.tasks.add(std::make_unique<LensTask>(desk_, c.request));
    }
    void operator()(const command::ShowAttention& c) {
        desk_.need_model();
        desk_.locate(c.token);
        if (c.token.thought == desk_.generating || !rows_are_there(c.token.thought)) return;
        desk_.publisher.set_attention(attention_view(desk_, c.token));
    }
    void operator()(const command::WatchAttentionMass& c) {
        desk_.watches_attention_mass = c.on;
        desk_.analyses.show_mass(desk_);
        if (c.on) desk_.analyses.wake();
    }
    void operator()(const command::Diagnose& c) {
        desk_.need_model();
        desk_.tasks.stop(TaskKind::causal);
        desk_.tasks.add(std::make_unique<DiagnosisTask>(desk_, c.settings));
    }
    void operator()(const command::MeasureResume& c) {
        desk_.need_model();
        desk_.tasks.add(std::make_unique<ResumeFidelityTask>(desk_, c));
    }

    void operator()(const command::FitSidecar& c) {
        desk_.need_model();
        desk_.tasks.stop(TaskKind::fit);
        desk_.tasks.add(std::make_unique<FitTask>(desk_, c.settings));
    }
    void operator()(const command::TryCodec& c) {
        desk_.need_model();
        desk_.tasks.add(std::make_unique<TryCodecTask>(desk_, c));
    }
    void operator()(const command::KeepAsLatent& c) {
        if (!both_are_there(c.thought, c.thought)) return;
        desk_.tasks.add(std::make_unique<LatentTask>(desk_, c));
    }
    void operator()(const command::ResumeLatent& c) { desk_.tasks.add(std::make_unique<LatentTask>(desk_, c)); }
    void operator()(const command::CompareCodecs& c) {
        desk_.need_model();
        desk_.tasks.stop(TaskKind::compare);
        desk_.tasks.add(std::make_unique<CompareTask>(desk_, c.settings));
    }
    void operator()(const command::TrainCodec& c) {
        desk_.need_model();
        auto task = std::make_unique<TrainTask>(desk_, c.settings);  // refuses what does not fit, before another ends
        desk_.tasks.stop(TaskKind::train);
        desk_.tasks.add(std::move(task));
    }
    void operator()(const command::RunExperiment& c) {
        desk_.need_model();
        auto task = std::make_unique<ExperimentTask>(desk_, c);  // refuses what it cannot read, before another ends
        desk_.tasks.stop(TaskKind::experiment);
        desk_.tasks.add(std::move(task));
    }
    void operator()(const command::RankPhi& c) {
        desk_.need_model();
        auto task = std::make_unique<PhiRankingTask>(desk_, c.settings);  // refuses what does not fit
        desk_.tasks.stop(TaskKind::ranking);
        desk_.tasks.add(std::move(task));
    }
    void operator()(const command::PauseTraining& c) {
        if (auto* task = static_cast<TrainTask*>(desk_.tasks.find(TaskKind::train))) task->pause(c.on);
        desk_.tasks.wake();
    }
    void operator()(const command::StopTraining& c) {
        if (!c.judge) return desk_.tasks.stop(TaskKind::train);
        if (auto* task = static_cast<TrainTask*>(desk_.tasks.find(TaskKind::train))) task->finish_early();
        desk_.tasks.wake();
    }
    void operator()(const command::LoadSidecar& c) {
        ReferenceFit::Result fit = load_fit(c.folder, desk_.need_model().weights);
        if (!fit.sidecar)
            throw FileError(c.folder, "holds no fitted sidecar (sidecar.safetensors and reference.safetensors)");
        desk_.tasks.stop(TaskKind::fit);
        desk_.adopt_fit(std::move(fit));
        desk_.publisher.set_sidecar(with_path(desk_.publisher.sidecar(), c.folder));
        desk_.notices.info("loaded the sidecar in " + c.folder);
    }

    void operator()(const command::NewSession&) { start_new_session(desk_); }
    void operator()(const command::SaveSession& c) { desk_.tasks.add(std::make_unique<SaveTask>(desk_, c)); }
    void operator()(const command::OpenSession& c) { open_session_folder(desk_, c.folder); }
    void operator()(const command::Export& c) {
        if (export_needs_rows(c.what) && desk_.current != 0 && desk_.current != desk_.generating &&
            !rows_are_there(desk_.current))
            return;
        desk_.tasks.add(std::make_unique<ExportTask>(desk_, c));
    }

    void operator()(const command::WriteFile& c) {
        if (c.path.empty()) throw InputError("choose a file to write to");
        write_atomically(c.path, c.contents);
        desk_.notices.info("wrote " + c.path);
    }
    void operator()(const command::SetMemoryBudget& c) {
        desk_.memory.set(c.bytes);
        desk_.publisher.touch();
    }

    void operator()(const command::CancelJob& c) { desk_.tasks.stop_job(c.job); }
    void operator()(const command::DismissError& c) { desk_.notices.dismiss(c.error); }

   private:
    // One generation runs at a time; the others begin in the order in which they came.
    bool waits_for_generation() {
        if (desk_.generating == 0) return false;
        desk_.generations.push_back(received_);
        return true;
    }

    void generate(GenerationPlan plan) { desk_.tasks.add(std::make_unique<GenerationTask>(desk_, std::move(plan))); }

    // What the user looks at is worth recomputing, even if it was refused before.
    void allow_rows(ThoughtId path) {
        if (path == 0) return;
        for (const PathSpan& span : desk_.graph.path(path)) desk_.rows_refused.erase(span.thought);
    }

    bool wait_for_rows(ThoughtId path) {
        allow_rows(path);
        request_rows(desk_, path);
        desk_.after_rows.push_back(received_);
        return false;
    }

    // False: they are being recomputed, and the command comes again.
    bool rows_are_there(ThoughtId path) {
        return !desk_.model || path_rows_are_there(desk_, path) || wait_for_rows(path);
    }
    bool both_are_there(ThoughtId a, ThoughtId b) {
        desk_.need_model();
        for (const ThoughtId thought : {a, b}) {
            if (desk_.graph.path_length(thought) == 0)
                throw InputError("thought " + std::to_string(thought) + " has no tokens yet");
            if (thought == desk_.generating)
                throw InputError("thought " + std::to_string(thought) + " is still being generated; wait or stop it");
            if (!rows_are_there(thought)) return false;
        }
        return true;
    }
    bool kv_is_there(ThoughtId path) { return !desk_.model || path_kv_is_there(desk_, path) || wait_for_rows(path); }
    bool edit_rows_are_there(const TokenRef& at, const std::vector<LatentEdit>& edits) {
        if (!rows_are_there(at.thought)) return false;
        for (const ThoughtId source : sources_of(edits))
            if (!rows_are_there(source)) return false;
        return true;
    }

    template <typename Change>
    void annotate(ThoughtId thought, const Change& change) {
        change(desk_.graph.edit(thought));
        desk_.publisher.thought_changed(thought);
        desk_.graph_changed();
    }

    void show_path(ThoughtId thought) {
        desk_.set_current(thought);
        desk_.analyses.show(desk_);
    }

    void remove(ThoughtId id) {
        if (id == desk_.generating)
            throw InputError("thought " + std::to_string(id) + " is still being generated; stop it first");
        const ThoughtId parent = desk_.graph.at(id).parent;
        desk_.graph.remove(id);
        const std::set<ThoughtId> refused = desk_.rows_refused;
        desk_.tasks.stop(TaskKind::rows);
        desk_.rows_refused = refused;  // the user refused nothing by this
        desk_.publisher.thought_removed(id);
        desk_.analyses.forget(id);
        desk_.projection.forget(desk_, id);
        forget_causal(id);
        std::erase(desk_.trajectory.thoughts, id);
        if (desk_.selected.thought == id) deselect();
        if (desk_.current == id) show_path(parent);
        desk_.keep_selection();
        desk_.analyses.wake();
        desk_.graph_changed();
    }

    void forget_causal(ThoughtId id) {
        const auto shows = [id](const auto& view) { return view && (view->runs->a == id || view->runs->b == id); };
        const auto& drift = desk_.publisher.drift();
        const auto& patch = desk_.publisher.patch();
        const auto& lens = desk_.publisher.lens();
        const auto& attention = desk_.publisher.attention();
        const bool read = lens && lens->request.thought == id;
        const bool running = (read && lens->state == CausalState::running) ||
                             (shows(drift) && drift->state == CausalState::running) ||
                             (shows(patch) && patch->state == CausalState::running);
        if (running) desk_.tasks.stop(TaskKind::causal);
        if (shows(drift)) desk_.publisher.set_drift(nullptr);
        if (shows(patch)) desk_.publisher.set_patch(nullptr);
        if (read) desk_.publisher.set_lens(nullptr);
        if (attention && attention->token.thought == id) desk_.publisher.set_attention(nullptr);
        const auto& trial = desk_.publisher.codec_trial();
        if (trial && trial->thought == id) desk_.publisher.set_codec_trial(nullptr);
    }

    void deselect() {
        desk_.selected = {};
        desk_.publisher.set_latent(nullptr);
        clear_preview();
    }

    void clear_preview() {
        desk_.tasks.stop(TaskKind::preview);
        desk_.waiting_preview.reset();
        desk_.publisher.set_preview(nullptr);
        desk_.analyses.clear_edit(desk_);
    }

    void set_trajectory(const command::SetTrajectory& c) {
        for (const ThoughtId thought : c.thoughts) desk_.graph.at(thought);
        const int64_t groups =
            desk_.fit.sidecar ? static_cast<int64_t>(desk_.fit.sidecar->hidden().groups().size()) : 0;
        if (c.group < -1 || c.group >= groups) {
            throw InputError("group " + std::to_string(c.group) + " is not there; the sidecar has " +
                             std::to_string(groups));
        }
        desk_.trajectory = {c.thoughts, c.group};
        for (const ThoughtId thought : c.thoughts) desk_.rows_refused.erase(thought);
        desk_.analyses.wake();
    }

    static SidecarView with_path(SidecarView view, const std::string& path) {
        view.path = path;
        return view;
    }

    Desk& desk_;
    const Received& received_;
};

}  // namespace

void handle(Desk& desk, const Received& received) { std::visit(Handler(desk, received), received.command); }

void start_waiting_preview(Desk& desk) {
    if (!desk.waiting_preview || desk.tasks.has(TaskKind::preview)) return;
    const Received next = *desk.waiting_preview;
    desk.waiting_preview.reset();
    handle(desk, next);
}

bool runs_while_loading(const Command& command) {
    return std::holds_alternative<command::LoadModel>(command) || std::holds_alternative<command::Stop>(command) ||
           std::holds_alternative<command::CancelJob>(command) ||
           std::holds_alternative<command::DismissError>(command);
}

std::string title_of(const Command& command) {
    return std::visit(Overloaded{[](const command::LoadModel&) { return "Loading a model"; },
                                 [](const command::Generate&) { return "Generating"; },
                                 [](const command::Continue&) { return "Continuing"; },
                                 [](const command::BranchHere&) { return "Branching"; },
                                 [](const command::ReplaceToken&) { return "Replacing a token"; },
                                 [](const command::ResumeEdit&) { return "Resuming an edit"; },
                                 [](const command::PreviewEdit&) { return "Previewing an edit"; },
                                 [](const command::Select&) { return "Selecting a token"; },
                                 [](const command::SetCurrent&) { return "Showing a thought"; },
                                 [](const command::RewindHere&) { return "Rewinding"; },
                                 [](const command::Rename&) { return "Renaming a thought"; },
                                 [](const command::SetNote&) { return "Writing a note"; },
                                 [](const command::Bookmark&) { return "Bookmarking"; },
                                 [](const command::RemoveThought&) { return "Removing a thought"; },
                                 [](const command::SetMarkThreshold&) { return "Setting the threshold of marks"; },
                                 [](const command::SetTrajectory&) { return "Choosing the trajectory"; },
                                 [](const command::Project&) { return "Projecting"; },
                                 [](const command::WriteFile&) { return "Writing a file"; },
                                 [](const command::MeasureResume&) { return "Measuring resumption"; },
                                 [](const command::CompareRuns&) { return "Comparing two thoughts"; },
                                 [](const command::PatchRuns&) { return "Patching activations"; },
                                 [](const command::ReadThroughLens&) { return "Reading through a lens"; },
                                 [](const command::ShowAttention&) { return "Showing attention"; },
                                 [](const command::WatchAttentionMass&) { return "Adding up attention"; },
                                 [](const command::Diagnose&) { return "Looking for collapse"; },
                                 [](const command::FitSidecar&) { return "Fitting the sidecar"; },
                                 [](const command::CompareCodecs&) { return "Comparing codecs"; },
                                 [](const command::TryCodec&) { return "Trying a codec"; },
                                 [](const command::KeepAsLatent&) { return "Keeping a thought as z"; },
                                 [](const command::ResumeLatent&) { return "Resuming from z"; },
                                 [](const command::TrainCodec&) { return "Training a codec"; },
                                 [](const command::RunExperiment&) { return "Running an experiment"; },
                                 [](const command::RankPhi&) { return "Ranking feature maps"; },
                                 [](const command::LoadSidecar&) { return "Loading a sidecar"; },
                                 [](const command::SaveSession&) { return "Saving the session"; },
                                 [](const command::OpenSession&) { return "Opening a session"; },
                                 [](const command::Export&) { return "Exporting"; },
                                 [](const command::SetMemoryBudget&) { return "Setting the memory budget"; },
                                 [](const auto&) { return "Savepoint"; }},
                      command);
}

}  // namespace savepoint
