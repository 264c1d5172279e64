#include "core/workbench/load_task.h"

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/workbench/chat.h"
#include "core/workbench/desk.h"
#include "core/workbench/fit_task.h"
#include "core/workbench/session_task.h"
#include "core/workbench/stored_codecs.h"
#include "core/workbench/views.h"

namespace savepoint {

struct LoadTask::Loaded {
    std::shared_ptr<LoadedModel> model = std::make_shared<LoadedModel>();
    StoredFit fit;
};

namespace {

constexpr double kWeightsShare = 0.9;  // of the time it takes

std::string name_of(const c10::Device& device) { return device.is_cpu() ? "cpu (" + cpu_name() + ")" : device.str(); }

// Runs on the task's own thread.
void load_model(LoadedModel& model, const std::string& path, const std::string& device_name,
                const Aside::Report& report) {
    const c10::Device device = open_device(device_name);
    model.weights = Weights::from_gguf(path, [&](double fraction) { report(kWeightsShare * fraction); });
    report(kWeightsShare);
    model.tokenizer = std::make_unique<Tokenizer>(path);
    report(0.95);
    model.transformer = std::make_unique<Transformer>(model.weights, device);
    model.tokenizer_hash = model.tokenizer->hash();
    model.device_name = name_of(device);
    model.default_system_prompt = default_system_prompt(*model.tokenizer);
}

}  // namespace

LoadTask::LoadTask(Desk& desk, std::string path)
    : Task(TaskKind::load, "Loading " + path),
      desk_(desk),
      path_(std::move(path)),
      loaded_(std::make_shared<Loaded>()) {
    const WorkbenchOptions& options = desk.options;
    const auto work = [loaded = loaded_, path = path_, device = options.device,
                       data = options.data_folder](const Aside::Report& report) {
        load_model(*loaded->model, path, device, report);
        report(0.97);
        loaded->fit = read_stored_fit(data, loaded->model->weights);
    };
    aside_ = std::make_unique<Aside>(work, desk.wake);
    show_progress();
}

LoadTask::~LoadTask() = default;

Step LoadTask::step() {
    if (!aside_->finished()) {
        show_progress();
        return Step::waiting;
    }
    aside_->rethrow();
    adopt();
    return Step::done;
}

void LoadTask::adopt() {
    desk_.tasks.stop_all_but({TaskKind::load, TaskKind::session});
    const bool same_model = desk_.model && desk_.model->weights->sha256() == loaded_->model->weights->sha256();
    desk_.live.reset();
    desk_.scratch.reset();
    desk_.model = loaded_->model;
    desk_.drift_scale = {};
    desk_.tuned_lens = {};
    const Transformer& model = *desk_.model->transformer;
    desk_.live = std::make_unique<LiveCache>(model, desk_.graph);
    desk_.scratch = std::make_unique<LiveCache>(model, desk_.graph);
    desk_.publisher.set_model(model_view(*desk_.model));
    desk_.notices.info("loaded " + path_);
    // States of another model mean nothing to this one.
    if (!same_model && !desk_.graph.thoughts().empty()) {
        desk_.notices.warn("the thoughts of the model before were closed");
        start_new_session(desk_);
    }
    adopt_stored_fit(desk_, std::move(loaded_->fit));
    if (!same_model) show_stored_codecs(desk_);
    desk_.publisher.path_changed();
}

void LoadTask::show_progress() {
    if (desk_.model) return;  // it stays in use until the new one is there; the job shows progress
    ModelView view;
    view.phase = Phase::working;
    view.progress = aside_ ? aside_->progress() : 0;
    view.path = path_;
    desk_.publisher.set_model(std::move(view));
}

void LoadTask::show_failure(const std::string& message) {
    if (desk_.model) return;
    ModelView view;
    view.phase = Phase::failed;
    view.path = path_;
    view.error = message;
    desk_.publisher.set_model(std::move(view));
}

}  // namespace savepoint
