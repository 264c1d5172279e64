#include "core/workbench/phi_ranking_task.h"

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
        if (!desk_.fit_folder.empty()) keep_learned(ranking_, desk_.fit_folder, desk_.need_model().weights->sha256());
        publish(Phase::ready);
        return Step::done;
    }
    ranking_.step();
    if (std::chrono::steady_clock::now() - published_ > kPublishPeriod) publish(Phase::working);
    return Step::again;
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
