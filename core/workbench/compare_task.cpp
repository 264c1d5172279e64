#include "core/workbench/compare_task.h"

#include <filesystem>

#include "core/workbench/desk.h"

namespace savepoint {
namespace {

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

CodecView view_of(const CodecFigures& f) {
    CodecView view;
    view.name = f.name;
    view.kind = f.kind;
    view.part = to_string(f.part);
    view.bytes_per_token = f.bytes_per_token;
    view.ratio_fp16 = f.ratio_fp16;
    view.sidecar_bytes = f.sidecar_bytes;
    view.kl_nats = f.kl_nats;
    view.kl_p95 = f.kl_p95;
    view.top1_agreement = f.top1_agreement;
    view.delta_nll = f.delta_nll;
    view.hidden_fvu = f.hidden_fvu;
    view.k_fvu = f.k_fvu;
    view.v_fvu = f.v_fvu;
    view.mid_layer_mse = f.mid_layer_mse;
    view.encode_tokens_per_s = f.encode_tokens_per_s;
    view.restore_tokens_per_s = f.restore_tokens_per_s;
    view.hidden_fvu_layers = floats(f.hidden_fvu_layers);
    view.k_fvu_layers = floats(f.k_fvu_layers);
    view.v_fvu_layers = floats(f.v_fvu_layers);
    return view;
}

}  // namespace

CompareTask::CompareTask(Desk& desk, RateDistortionSettings settings)
    : Task(TaskKind::compare, "Comparing codecs"),
      desk_(desk),
      settings_(std::move(settings)),
      job_(desk.transformer(), desk.tokenizer(), settings_) {
    if (!desk.fit_folder.empty()) folder_ = (std::filesystem::path(desk.fit_folder) / "codecs").string();
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
        codecs_.push_back(view_of(one.figures));
        store(one);
    }
    publish(Phase::working);
    return Step::again;
}

// Only what was fitted on this text: the others are made from their settings again.
void CompareTask::store(const RateDistortion::Judged& one) {
    if (folder_.empty() || one.figures.sidecar_bytes < 4096) return;
    std::filesystem::create_directories(folder_);
    codecs_.back().file = (std::filesystem::path(folder_) / codec_file_name(one.figures.name)).string();
    save_codec(codecs_.back().file, *one.codec, job_.info(one.figures));
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
