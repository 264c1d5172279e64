#include "core/workbench/drift_task.h"

#include <ATen/ATen.h>

#include "core/analysis/learned_phi.h"
#include "core/workbench/desk.h"

namespace savepoint {

DriftTask::DriftTask(Desk& desk, ThoughtId a, ThoughtId b, DriftSettings settings)
    : Task(TaskKind::causal, "Comparing two thoughts"),
      desk_(desk),
      a_(a),
      b_(b),
      settings_(settings),
      alignment_(align(desk.graph.path_tokens(a), desk.graph.path_tokens(b))),
      runs_(run_pair_view(desk, a, b, alignment_)),
      sidecar_(desk.fit.sidecar),
      phi_(phi_for(settings.phi, desk.transformer().config(), desk.fit_folder, desk.need_model().weights->sha256())) {
    publish(CausalState::running);
}

bool DriftTask::known_scale() const {
    const KnownScale& known = desk_.drift_scale;
    if (!known.scale || known.sidecar != sidecar_ || known.phi != settings_.phi) return false;
    // A learned phi may have been learned again.
    return settings_.phi.kind != PhiKind::hedgehog || at::equal(known.scale->phi()->key_maps(), phi_->key_maps());
}

Step DriftTask::step() {
    if (!known_scale()) {
        if (!fit_)
            fit_ = std::make_unique<DriftScaleFit>(desk_.transformer(), unrelated_texts(desk_.tokenizer()), phi_,
                                                   sidecar_);
        if (!fit_->step()) desk_.drift_scale = {fit_->result(), sidecar_, settings_.phi};
        publish(CausalState::running);
        return Step::again;
    }
    if (!drift_) {
        drift_ = std::make_unique<Drift>(desk_.transformer(), path_run(desk_, a_), path_run(desk_, b_), alignment_,
                                         desk_.drift_scale.scale, sidecar_, settings_);
        return Step::again;
    }
    const bool more = drift_->step();
    const bool grown = maps_.size() < drift_->maps().size();
    while (maps_.size() < drift_->maps().size())
        maps_.push_back(std::make_shared<const DriftMap>(drift_->maps()[maps_.size()]));
    if (!more) {
        publish(CausalState::done);
        return Step::done;
    }
    if (grown) publish(CausalState::running);
    return Step::again;
}

double DriftTask::progress() const {
    if (drift_) return 0.6 + 0.4 * drift_->progress();
    return fit_ ? 0.6 * fit_->progress() : 0;
}

std::string DriftTask::stage() const {
    if (drift_) return drift_->stage();
    return fit_ ? fit_->stage() : "starting";
}

void DriftTask::publish(CausalState state, const std::string& error) {
    auto view = std::make_shared<DriftView>();
    view->state = state;
    view->progress = progress();
    view->stage = stage();
    view->error = error;
    view->settings = settings_;
    view->runs = runs_;
    view->maps = maps_;
    if (sidecar_)
        for (const LayerGroup& group : sidecar_->hidden().groups()) view->groups.push_back(group.label());
    if (known_scale()) {
        view->unrelated_runs = desk_.drift_scale.scale->runs();
        view->unrelated_length = desk_.drift_scale.scale->length();
    }
    desk_.publisher.set_drift(std::move(view));
}

}  // namespace savepoint
