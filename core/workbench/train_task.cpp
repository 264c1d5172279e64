#include "core/workbench/train_task.h"

#include <chrono>
#include <filesystem>

#include "core/model/error.h"
#include "core/model/sha256.h"
#include "core/workbench/codec_view.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr int64_t kCheckpointRounds = 5;

}  // namespace

TrainTask::TrainTask(Desk& desk, TrainingSettings settings)
    : Task(TaskKind::train, "Training a codec"),
      desk_(desk),
      settings_(std::move(settings)),
      job_(desk.transformer(), desk.tokenizer(), settings_) {
    if (!desk.fit_folder.empty()) {
        const std::filesystem::path data(desk.fit_folder);
        folder_ = (data / "codecs").string();
        const std::string digest = sha256_hex(job_.described()["settings"].dump()).substr(0, 16);
        checkpoint_ = (data / "training" / (digest + ".safetensors")).string();
        if (std::filesystem::exists(checkpoint_)) try {
                job_.load_checkpoint(checkpoint_);
                resumed_rounds_ = static_cast<int64_t>(job_.curve().size());
                desk.notices.info("training goes on from its checkpoint, after round " +
                                  std::to_string(resumed_rounds_));
            } catch (const FileError& problem) {
                desk.notices.warn("training begins anew: " + std::string(problem.what()));
            }
    }
    publish(Phase::working);
}

Step TrainTask::step() {
    if (job_.done()) {
        store();
        publish(Phase::ready);
        return Step::done;
    }
    if (paused_) return Step::waiting;
    const auto start = std::chrono::steady_clock::now();
    const size_t points = job_.curve().size();
    job_.step();
    worked_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (job_.curve().size() > points) keep_checkpoint();
    while (judged_.size() < job_.judged().size()) judged_.push_back(codec_view(job_.judged()[judged_.size()].figures));
    publish(Phase::working);
    return Step::again;
}

void TrainTask::pause(bool on) {
    paused_ = on;
    publish(Phase::working);
}

void TrainTask::finish_early() {
    enough_ = true;
    paused_ = false;
    job_.finish_early();
    publish(Phase::working);
}

void TrainTask::keep_checkpoint() {
    const auto rounds = static_cast<int64_t>(job_.curve().size());
    if (checkpoint_.empty() || !job_.between_rounds() || rounds % kCheckpointRounds != 0) return;
    std::filesystem::create_directories(std::filesystem::path(checkpoint_).parent_path());
    job_.save_checkpoint(checkpoint_);
}

// Stored, and shown beside what was compared before; of the transforms that it was judged beside only the figures.
void TrainTask::store() {
    if (!folder_.empty()) {
        std::filesystem::create_directories(folder_);
        file_ = (std::filesystem::path(folder_) / codec_file_name(job_.codec()->name())).string();
        save_codec(file_, *job_.codec(), job_.info(job_.judged().back().figures));
        judged_.back().file = file_;
        desk_.codecs.put(judged_.back().name, file_);
        std::error_code ignored;
        std::filesystem::remove(checkpoint_, ignored);
        desk_.notices.info("stored the trained codec in " + file_);
    } else {
        desk_.codecs.put(judged_.back().name, job_.codec());
    }
    judged_.back().at_hand = true;
    const auto before = desk_.publisher.rate_distortion();
    auto together = before ? std::make_shared<RateDistortionView>(*before) : std::make_shared<RateDistortionView>();
    if (!before) together->phase = Phase::ready;
    for (const CodecView& one : judged_) {
        std::erase_if(together->codecs, [&](const CodecView& other) { return other.name == one.name; });
        together->codecs.push_back(one);
    }
    desk_.publisher.set_rate_distortion(std::move(together));
}

void TrainTask::publish(Phase phase, const std::string& error) {
    auto view = std::make_shared<TrainingView>();
    view->phase = phase;
    view->paused = paused_;
    view->finishing = enough_;
    view->progress = job_.progress();
    view->stage = job_.stage();
    view->error = error;
    view->settings = settings_;
    view->resumed_rounds = resumed_rounds_;
    view->curve = job_.curve();
    view->codecs = judged_;
    view->against_transform = job_.against_transform();
    view->file = file_;
    const double p = job_.progress();
    if (resumed_rounds_ == 0 && p > 0.02) view->seconds_left = worked_ * (1 - p) / p;
    desk_.publisher.set_training(std::move(view));
}

}  // namespace savepoint
