#include "core/workbench/experiment_task.h"

#include "core/analysis/learned_phi.h"
#include "core/state/json_fields.h"
#include "core/state/safetensors.h"
#include "core/workbench/desk.h"

namespace savepoint {

namespace {

ExperimentSettings settings_of(const command::RunExperiment& asked) {
    if (!asked.file.empty()) return experiment_from(parse_json(read_file(asked.file), asked.file), asked.file);
    ExperimentSettings settings;
    settings.name = settings.builtin = asked.builtin;
    if (asked.thorough) return settings;
    settings = brief_experiment(asked.builtin);
    settings.most = 200;
    return settings;
}

}  // namespace

ExperimentTask::ExperimentTask(Desk& desk, const command::RunExperiment& asked)
    : Task(TaskKind::experiment, "Experiment"), desk_(desk) {
    const ExperimentSettings settings = settings_of(asked);
    std::shared_ptr<const Phi> learned;
    if (!desk.fit_folder.empty())
        learned = load_learned_phi(desk.fit_folder, settings.rotary, desk.need_model().weights->sha256());
    job_ = std::make_unique<Experiment>(desk.transformer(), desk.tokenizer(), settings, learned);
    publish(Phase::working);
}

Step ExperimentTask::step() {
    if (job_->done()) {
        publish(Phase::ready);
        return Step::done;
    }
    job_->step();
    publish(Phase::working);
    return Step::again;
}

void ExperimentTask::publish(Phase phase, const std::string& error) {
    const ExperimentResult& result = job_->result();
    if (!shown_ || shown_->rows.size() != result.rows.size() || phase != Phase::working)
        shown_ = std::make_shared<const ExperimentResult>(result);
    auto view = std::make_shared<ExperimentView>();
    view->phase = phase;
    view->progress = job_->progress();
    view->name = job_->settings().name;
    view->stage = job_->stage();
    view->error = error;
    view->result = shown_;
    view->settings = std::make_shared<const ExperimentSettings>(job_->settings());
    desk_.publisher.set_experiment(std::move(view));
}

}  // namespace savepoint
