#include "core/workbench/generation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/sampler.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr int64_t kCandidates = 10;

std::vector<Pass> passes_for(Thought& planned, const GenerationPlan& plan) {
    planned.tokens = plan.given;
    planned.edits = plan.edits;
    planned.shape.prefilled = static_cast<int64_t>(plan.given.size());
    return passes_of(planned);
}

}  // namespace

GenerationTask::GenerationTask(Desk& desk, GenerationPlan plan)
    : Task(TaskKind::generation, "Generating"),
      desk_(desk),
      planned_(plan.thought),
      settings_(plan.settings),
      before_(desk.current),
      look_at_(plan.look_at),
      selected_before_(desk.selected) {
    plan.thought.shape = planned_.shape = execution_shape(desk.transformer(), 0);
    passes_ = passes_for(planned_, plan);
    id_ = desk_.graph.add(std::move(plan.thought));
    desk_.generating = id_;
    desk_.set_current(id_);
    desk_.publisher.thought_changed(id_);
    desk_.graph_changed();
}

Step GenerationTask::step() {
    if (next_pass_ < passes_.size()) {
        run_given(passes_[next_pass_++]);
        if (next_pass_ == passes_.size()) look_at_edit();
    } else if (ended_ || sampled_ >= settings_.max_tokens || is_full()) {
        finish();
        return Step::done;
    } else {
        sample_next();
        desk_.analyses.live(desk_, id_);
    }
    return Step::again;
}

void GenerationTask::run_given(const Pass& pass) {
    ForwardOptions options;
    options.logits = Logits::all;
    options.edit = pass.edit;
    need_logits();
    KvCache& cache = desk_.live->rewind(id_, desk_.graph.path_length(id_));
    const std::span<const TokenId> tokens = std::span(planned_.tokens).subspan(pass.first, pass.count);
    const Transformer& model = desk_.transformer();
    const ForwardOutput output =
        pass.decoded ? model.decode(cache, tokens[0], options) : model.prefill(cache, tokens, options);
    for (int64_t i = 0; i < pass.count; ++i) append(tokens[i], output.logits[i], output.rows.slice(i, 1));

    Thought& thought = desk_.graph.edit(id_);
    if (pass.edit) thought.edits.push_back(*pass.edit);
    thought.prompt_tokens = thought.shape.prefilled = static_cast<int64_t>(thought.tokens.size());
    desk_.live->advanced(id_);
}

void GenerationTask::sample_next() {
    if (sampled_ == 0) first_sample_ = std::chrono::steady_clock::now();
    need_logits();
    const int64_t position = desk_.graph.path_length(id_);
    const TokenId token = sample(logits_, settings_.sampler, position);
    KvCache& cache = desk_.live->rewind(id_, position);
    ForwardOptions options;
    options.queries = desk_.analyses.wants_queries(desk_);
    const ForwardOutput output = desk_.transformer().decode(cache, token, options);
    append(token, output.logits[0], output.rows);
    if (output.query.defined()) desk_.analyses.take_query(id_, position, output.query);
    desk_.live->advanced(id_);
    ended_ = !settings_.ignore_end && desk_.tokenizer().ends_generation(token);
    ++sampled_;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - first_sample_;
    desk_.tokens_per_second = static_cast<double>(sampled_) / std::max(elapsed.count(), 1e-6);
}

void GenerationTask::append(TokenId token, const at::Tensor& logits_after, const StateRows& row) {
    const float log_probability = log_probability_of(token);
    set_logits(logits_after);
    desk_.graph.append(id_, token, {log_probability, next_.entropy, next_.top}, row);
    desk_.publisher.tokens_appended(id_);
}

void GenerationTask::need_logits() {
    const int64_t length = desk_.graph.path_length(id_);
    if (!logits_.defined() && length > 0) set_logits(desk_.live->next_logits(id_, length));
}

void GenerationTask::set_logits(const at::Tensor& logits) {
    logits_ = logits;
    next_ = describe(logits, kCandidates);
}

// The most likely token's probability is known, and logits differ as log-probabilities do: that spares
// another pass over the vocabulary.
float GenerationTask::log_probability_of(TokenId token) const {
    if (!logits_.defined()) return NAN;
    const float* logits = logits_.const_data_ptr<float>();
    const Candidate& likeliest = next_.top.front();
    return logits[token] - logits[likeliest.id] + std::log(likeliest.probability);
}

bool GenerationTask::is_full() const { return desk_.graph.path_length(id_) >= desk_.transformer().config().context; }

void GenerationTask::stop() {
    // Counted by tokens: a pass that failed has left some of its own behind.
    const std::vector<TokenId>& tokens = desk_.graph.at(id_).tokens;
    if (tokens.empty() || tokens.size() < planned_.tokens.size())
        take_back();
    else
        finish();
}

// The edit is what the thought was made for: its sliders and its next tokens are shown as soon as it ran.
void GenerationTask::look_at_edit() {
    if (look_at_ && desk_.current == id_) desk_.select({id_, *look_at_});
}

void GenerationTask::finish() {
    if (desk_.graph.at(id_).tokens.empty()) return take_back();
    desk_.graph.complete(id_);
    desk_.publisher.thought_changed(id_);
    // A user who looked at a token of another path, and still does, has come along to this one.
    const bool looking = selected_before_.thought != 0 && desk_.selected == selected_before_;
    if (looking && desk_.current == id_) desk_.keep_selection();
    leave();
}

void GenerationTask::take_back() {
    desk_.graph.remove(id_);
    desk_.publisher.thought_removed(id_);
    desk_.analyses.forget(id_);
    if (desk_.selected.thought == id_) {
        desk_.selected = {};
        desk_.publisher.set_latent(nullptr);
    }
    if (desk_.current == id_) {
        desk_.set_current(desk_.graph.contains(before_) ? before_ : 0);
        desk_.analyses.show(desk_);
        desk_.keep_selection();
    }
    leave();
}

void GenerationTask::leave() {
    desk_.generating = 0;
    desk_.analyses.wake();
    desk_.redo.insert(desk_.redo.end(), desk_.generations.begin(), desk_.generations.end());
    desk_.generations.clear();
    desk_.publisher.path_changed();
    desk_.graph_changed();
}

double GenerationTask::progress() const {
    const auto given = static_cast<double>(planned_.tokens.size()), wanted = static_cast<double>(settings_.max_tokens);
    // A prefilled token costs about a tenth of a sampled one.
    const double all = given / 10 + wanted;
    double done = static_cast<double>(sampled_);
    for (size_t i = 0; i < next_pass_; ++i) done += static_cast<double>(passes_[i].count) / 10;
    return all > 0 ? done / all : 1;
}

std::string GenerationTask::stage() const {
    if (next_pass_ < passes_.size()) return "reading the prompt";
    return std::to_string(sampled_) + " of at most " + std::to_string(settings_.max_tokens) + " tokens";
}

}  // namespace savepoint
