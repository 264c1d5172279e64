#include "core/workbench/lens_task.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "core/model/error.h"
#include "core/workbench/causal_runs.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr auto kPublishPeriod = std::chrono::milliseconds(150);
constexpr double kHeldOut = 9.0 / 64;  // of the tokens fitted: 9 texts beside 64, 1,116 tokens behind their first four

}  // namespace

std::string tuned_lens_path(const std::string& fit_folder) {
    return fit_folder.empty() ? std::string() : (std::filesystem::path(fit_folder) / "tuned_lens.safetensors").string();
}

std::shared_ptr<const TunedLens> stored_tuned_lens(Desk& desk) {
    if (!desk.tuned_lens.looked) {
        desk.tuned_lens.looked = true;
        const std::string path = tuned_lens_path(desk.fit_folder);
        if (!path.empty() && std::filesystem::exists(path))
            desk.tuned_lens.lens =
                TunedLens::load(path, desk.transformer().config(), desk.need_model().weights->sha256());
    }
    return desk.tuned_lens.lens;
}

LensTask::LensTask(Desk& desk, LensRequest request)
    : Task(TaskKind::causal, "Reading through a lens"), desk_(desk), request_(request) {
    const int64_t length = desk.graph.path_length(request_.thought);
    if (request_.tokens <= 0) request_.tokens = length - request_.first;
    if (request_.first < 0 || request_.tokens < 1 || request_.first + request_.tokens > length)
        throw InputError("lens: tokens from " + std::to_string(request_.first) + " on are not in a path of " +
                         std::to_string(length));
    if (request_.states == LensStates::decoded) desk.need_sidecar();
    publish(CausalState::running);
}

Step LensTask::step() {
    if (request_.kind == LensKind::tuned && !tuned_ && fit()) return Step::again;
    if (!lens_) {
        begin();
        return Step::again;
    }
    const bool more = lens_->step();
    const LensMap& map = lens_->map();
    for (size_t i = top_.size(); i < static_cast<size_t>(map.read * map.layers * kLensTop); ++i)
        top_.push_back(token_text(desk_, map.top[i]));
    if (!more) {
        publish(CausalState::done);
        return Step::done;
    }
    if (std::chrono::steady_clock::now() - published_ > kPublishPeriod) publish(CausalState::running);
    return Step::again;
}

// True: there is more to do.
bool LensTask::fit() {
    if (!fit_) {
        tuned_ = stored_tuned_lens(desk_);
        if (tuned_) return false;
        const int64_t tokens = desk_.options.tuned_lens_tokens;
        LensText text =
            lens_text(desk_.tokenizer(), tokens, static_cast<int64_t>(kHeldOut * static_cast<double>(tokens)));
        fit_ = std::make_unique<TunedLensFit>(desk_.transformer(), std::move(text.fit), std::move(text.held_out));
    }
    if (fit_->step()) {
        publish(CausalState::running);
        return true;
    }
    tuned_ = desk_.tuned_lens.lens = fit_->result();
    fit_.reset();
    const std::string path = tuned_lens_path(desk_.fit_folder);
    if (!path.empty()) {
        std::filesystem::create_directories(desk_.fit_folder);
        tuned_->save(path, desk_.need_model().weights->sha256());
    }
    return true;
}

void LensTask::begin() {
    const StateRun run = path_run(desk_, request_.thought);
    at::Tensor states = run.rows.hidden;
    if (request_.states == LensStates::decoded) {
        const Sidecar& sidecar = desk_.need_sidecar();
        states = sidecar.hidden().decode(sidecar.hidden().encode(run.rows.hidden));
    }
    const int64_t last = request_.first + request_.tokens - 1;
    const auto likely = std::get<1>(
        desk_.transformer().unembed(run.rows.hidden[last][run.rows.hidden.size(1) - 1].contiguous()).topk(2));
    if (request_.target < 0) request_.target = likely[0].item<TokenId>();
    if (request_.distractor < 0)
        request_.distractor = likely[likely[1].item<TokenId>() == request_.target ? 0 : 1].item<TokenId>();
    for (int64_t position = request_.first; position <= last; ++position) {
        text_.push_back(token_text(desk_, run.ids[static_cast<size_t>(position)]));
        owner_.push_back(desk_.graph.owner(request_.thought, position).thought);
    }
    lens_ = std::make_unique<Lens>(desk_.transformer(), run, states, tuned_, request_.first, request_.tokens,
                                   request_.target, request_.distractor);
}

double LensTask::progress() const {
    const double fitted = request_.kind == LensKind::tuned && fit_ ? 0.8 * fit_->progress() : 0;
    return lens_ ? std::max(fitted, lens_->progress()) : fitted;
}

std::string LensTask::stage() const {
    if (fit_) return "fitting the tuned lens: " + fit_->stage();
    return lens_ ? "token " + std::to_string(lens_->map().read) + " of " + std::to_string(lens_->map().tokens) : "";
}

void LensTask::publish(CausalState state, const std::string& error) {
    auto view = std::make_shared<LensView>();
    view->state = state;
    view->progress = progress();
    view->stage = stage();
    view->error = error;
    view->request = request_;
    view->text = text_;
    view->owner = owner_;
    view->top = top_;
    if (lens_) {
        view->map = std::make_shared<const LensMap>(lens_->map());
        view->target = token_text(desk_, request_.target);
        view->distractor = token_text(desk_, request_.distractor);
    }
    if (tuned_) view->figures = tuned_->figures();
    published_ = std::chrono::steady_clock::now();
    desk_.publisher.set_lens(std::move(view));
}

}  // namespace savepoint
