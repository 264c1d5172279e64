#include "core/workbench/fit_task.h"

#include <filesystem>

#include "core/model/error.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {

std::string fit_folder(const std::string& data_folder, const std::string& model_sha256) {
    return (std::filesystem::path(data_folder) / model_sha256.substr(0, 16)).string();
}

StoredFit read_stored_fit(const std::string& data_folder, const std::shared_ptr<const Weights>& weights) {
    StoredFit stored;
    if (data_folder.empty()) return stored;
    stored.folder = fit_folder(data_folder, weights->sha256());
    try {
        stored.fit = load_fit(stored.folder, weights);
    } catch (const std::exception& problem) {
        stored.problem = problem.what();
    }
    return stored;
}

void adopt_stored_fit(Desk& desk, StoredFit stored) {
    desk.fit_folder = stored.folder;
    if (!stored.problem.empty()) desk.notices.warn("the stored sidecar cannot be used: " + stored.problem);
    const bool found = stored.fit.sidecar != nullptr;
    desk.adopt_fit(std::move(stored.fit));
    if (!found && desk.options.fit_when_missing) desk.tasks.add(std::make_unique<FitTask>(desk, desk.options.fit));
}

FitTask::FitTask(Desk& desk, FitSettings settings)
    : Task(TaskKind::fit, "Fitting the sidecar"),
      desk_(desk),
      fit_(desk.transformer(), desk.tokenizer(), std::move(settings)) {
    show(Phase::working);
}

Step FitTask::step() {
    if (fit_.done()) {
        adopt();
        return Step::done;
    }
    fit_.step();
    show(Phase::working);
    return Step::again;
}

void FitTask::adopt() {
    const ReferenceFit::Result result = fit_.result();
    desk_.adopt_fit(result);
    if (desk_.fit_folder.empty()) return;
    save_fit(desk_.fit_folder, result);
    desk_.notices.info("stored the fitted sidecar in " + desk_.fit_folder);
}

void FitTask::show(Phase phase, const std::string& error) {
    SidecarView view = sidecar_view(desk_);
    view.phase = desk_.fit.sidecar ? Phase::ready : phase;
    view.progress = fit_.progress();
    view.stage = phase == Phase::working ? fit_.stage() : std::string();
    view.error = error;
    desk_.publisher.set_sidecar(std::move(view));
}

}  // namespace savepoint
