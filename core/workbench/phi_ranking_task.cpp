#include "core/workbench/phi_ranking_task.h"

#include "core/analysis/learned_phi.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr auto kPublishPeriod = std::chrono::milliseconds(150);

}  // namespace

PhiRankingTask::PhiRankingTask(Desk& desk, const PhiRankingSettings& settings)
    : Task(TaskKind::ranking, "Ranking feature maps"),
      desk_(desk),
      ranking_(desk.transformer(), desk.tokenizer(), settings) {
    publish(Phase::working);
}

Step PhiRankingTask::step() {
    if (ranking_.done()) {
        keep_learned();
        publish(Phase::ready);
        return Step::done;
    }
    ranking_.step();
    if (std::chrono::steady_clock::now() - published_ > kPublishPeriod) publish(Phase::working);
    return Step::again;
}

void PhiRankingTask::keep_learned() const {
    const bool enough = ranking_.settings().hedgehog_steps >= PhiRankingSettings().hedgehog_steps;
    if (desk_.fit_folder.empty() || !enough) return;
    for (const bool rotary : {false, true})
        if (const auto learned = ranking_.hedgehog(rotary))
            save_learned_phi(desk_.fit_folder, *learned, desk_.need_model().weights->sha256());
}

void PhiRankingTask::publish(Phase phase, const std::string& error) {
    auto view = std::make_shared<PhiRankingView>();
    view->phase = phase;
    view->progress = ranking_.progress();
    view->stage = ranking_.stage();
    view->error = error;
    view->settings = ranking_.settings();
    view->rows = ranking_.ranked();
    published_ = std::chrono::steady_clock::now();
    desk_.publisher.set_phi_ranking(std::move(view));
}

}  // namespace savepoint
