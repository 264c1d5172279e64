#include "core/workbench/diagnosis_task.h"

#include <ATen/ATen.h>

#include "core/analysis/attention_patterns.h"
#include "core/workbench/causal_runs.h"
#include "core/workbench/desk.h"
#include "core/workbench/text.h"
#include "core/workbench/views.h"

namespace savepoint {

DiagnosisTask::DiagnosisTask(Desk& desk, CollapseSettings settings)
    : Task(TaskKind::causal, "Looking for collapse"), desk_(desk), settings_(std::move(settings)) {
    if (settings_.subject != CollapseSubject::soft_prompts) desk.need_sidecar();
    publish(CausalState::running);
}

Step DiagnosisTask::step() {
    if (!run_) {
        const bool soft = settings_.subject == CollapseSubject::soft_prompts;
        std::vector<std::vector<TokenId>> texts;
        if (!soft) texts = collapse_texts(desk_.tokenizer(), settings_);
        run_ = std::make_unique<CollapseRun>(desk_.transformer(), std::move(texts), desk_.fit.sidecar, settings_);
        return Step::again;
    }
    const bool more = run_->step();
    publish(more ? CausalState::running : CausalState::done);
    return more ? Step::again : Step::done;
}

void DiagnosisTask::publish(CausalState state, const std::string& error) {
    auto view = std::make_shared<DiagnosisView>();
    view->state = state;
    view->progress = progress();
    view->error = error;
    view->report.settings = settings_;
    if (run_) view->report = run_->report();
    const auto texts = [&](const std::vector<std::vector<int32_t>>& all) {
        std::vector<std::string> shown;
        for (const auto& ids : all) shown.push_back(displayable(desk_.tokenizer().decode(ids)));
        return shown;
    };
    view->outputs = texts(view->report.outputs);
    view->expected = texts(view->report.expected);
    desk_.publisher.set_diagnosis(std::move(view));
}

std::shared_ptr<const AttentionView> attention_view(const Desk& desk, const TokenRef& token) {
    const int64_t count = token.position + 1;
    const std::vector<TokenId> ids = desk.graph.path_tokens(token.thought);
    const StateRun run{{ids.begin(), ids.begin() + count}, desk.graph.path_rows(token.thought, 0, count)};
    const at::Tensor pattern = attention_pattern(desk.transformer(), run, token.position).contiguous();
    auto view = std::make_shared<AttentionView>();
    view->token = token;
    view->layers = pattern.size(0), view->heads = pattern.size(1), view->tokens = count;
    view->weight.assign(pattern.data_ptr<float>(), pattern.data_ptr<float>() + pattern.numel());
    for (int64_t i = 0; i < count; ++i) {
        view->text.push_back(token_text(desk, run.ids[static_cast<size_t>(i)]));
        view->owner.push_back(desk.graph.owner(token.thought, i).thought);
    }
    return view;
}

}  // namespace savepoint
