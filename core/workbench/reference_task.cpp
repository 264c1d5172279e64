#include "core/workbench/reference_task.h"

#include "core/analysis/reference_sequences.h"
#include "core/model/error.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr auto kPublishPeriod = std::chrono::milliseconds(150);

}  // namespace

ReferenceTask::ReferenceTask(Desk& desk, const AnomalyChoice& choice)
    : Task(TaskKind::reference, "Fitting the anomaly reference"),
      desk_(desk),
      choice_(choice),
      sidecar_hash_(desk.need_sidecar().hash()),
      fit_(desk.transformer(), desk.tokenizer(), choice, desk.fit_folder, desk.need_model().weights->sha256(),
           reference_text_settings(desk.need_sidecar().info())) {
    show(ReferenceView::State::fitting);
}

Step ReferenceTask::step() {
    if (!desk_.fit.sidecar || desk_.fit.sidecar->hash() != sidecar_hash_)
        throw InputError("another sidecar was taken into use; fit the reference again");
    if (!fit_.done()) {
        fit_.step();
        if (std::chrono::steady_clock::now() - published_ > kPublishPeriod) show(ReferenceView::State::fitting);
        return Step::again;
    }
    const auto reference = fit_.result();
    if (!desk_.fit_folder.empty()) {
        save_reference(desk_.fit_folder, *reference, desk_.need_model().weights->sha256(), sidecar_hash_);
        desk_.notices.info("stored the anomaly reference " + reference->name() + " in " + desk_.fit_folder);
    }
    desk_.references.adopt(desk_, reference);
    return Step::done;
}

void ReferenceTask::show(ReferenceView::State state, const std::string& error) {
    published_ = std::chrono::steady_clock::now();
    ReferenceView view = desk_.references.view(desk_);
    if (desk_.references.wanted() == choice_) {
        view.state = state;
        view.progress = fit_.progress();
        view.stage = fit_.stage();
        view.error = error;
    }
    desk_.publisher.set_reference(std::move(view));
}

}  // namespace savepoint
