#include "core/workbench/compare_task.h"

#include <filesystem>

#include "core/workbench/codec_view.h"
#include "core/workbench/desk.h"
#include "core/workbench/stored_codecs.h"

namespace savepoint {
CompareTask::CompareTask(Desk& desk, RateDistortionSettings settings)
    : Task(TaskKind::compare, "Comparing codecs"),
      desk_(desk),
      settings_(std::move(settings)),
      job_(desk.transformer(), desk.tokenizer(), settings_) {
    folder_ = codec_folder(desk.fit_folder);
    publish(Phase::working);
}

Step CompareTask::step() {
    if (job_.done()) {
        publish(Phase::ready);
        return Step::done;
    }
    job_.step();
    while (codecs_.size() < job_.judged().size()) {
        const RateDistortion::Judged& one = job_.judged()[codecs_.size()];
        codecs_.push_back(codec_view(one.figures));
        store(one);
    }
    publish(Phase::working);
    return Step::again;
}

// Only what was fitted on this text: the others are made from their settings again.
void CompareTask::store(const RateDistortion::Judged& one) {
    codecs_.back().at_hand = true;
    const std::string& name = one.figures.name;
    if (folder_.empty() || one.figures.sidecar_bytes < 4096) return desk_.codecs.put(name, one.codec);
    std::filesystem::create_directories(folder_);
    codecs_.back().file = (std::filesystem::path(folder_) / codec_file_name(name)).string();
    save_codec(codecs_.back().file, *one.codec, job_.info(one.figures));
    desk_.codecs.put(name, codecs_.back().file);
}

void CompareTask::publish(Phase phase, const std::string& error) {
    auto view = std::make_shared<RateDistortionView>();
    view->phase = phase;
    view->progress = job_.progress();
    view->stage = job_.stage();
    view->error = error;
    view->settings = settings_;
    view->codecs = codecs_;
    view->replay_tokens_per_s = job_.replay_tokens_per_s();
    desk_.publisher.set_rate_distortion(std::move(view));
}

}  // namespace savepoint
