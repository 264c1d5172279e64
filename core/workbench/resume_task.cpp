#include "core/workbench/resume_task.h"

#include "core/model/error.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

int64_t prefix_of(const command::MeasureResume& command, int64_t length) {
    if (length < 2) throw InputError("resuming needs a path of at least two tokens");
    const int64_t prefix = command.prefix == 0 ? length / 2 : command.prefix;
    if (prefix < 1 || prefix >= length) {
        throw InputError("prefix is " + std::to_string(command.prefix) + "; it must be from 1 to " +
                         std::to_string(length - 1));
    }
    return prefix;
}

}  // namespace

ResumeFidelityTask::ResumeFidelityTask(Desk& desk, const command::MeasureResume& command)
    : Task(TaskKind::asked, "Measuring resumption"), desk_(desk), thought_(command.thought) {
    desk.need_sidecar();
    const std::vector<TokenId> tokens = desk.graph.path_tokens(thought_);
    const int64_t prefix = prefix_of(command, static_cast<int64_t>(tokens.size()));
    const auto work = [model = desk.model, sidecar = desk.fit.sidecar, tokens, prefix,
                       result = result_](const Aside::Report& report) {
        const Transformer own(model->weights, model->transformer->device());
        *result =
            resume_fidelity(own, *sidecar, tokens, prefix, [&](double fraction) { return report(fraction), true; });
    };
    aside_ = std::make_unique<Aside>(work, desk.wake);
}

Step ResumeFidelityTask::step() {
    if (!aside_->finished()) return Step::waiting;
    aside_->rethrow();
    if (desk_.graph.contains(thought_)) desk_.analyses.set_fidelity(desk_, thought_, *result_);
    return Step::done;
}

}  // namespace savepoint
