#include "core/analysis/experiment.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <optional>

#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment_judge.h"
#include "core/analysis/experiment_run.h"
#include "core/analysis/framing.h"
#include "core/analysis/hedgehog_training.h"
#include "core/analysis/injection_curves.h"
#include "core/analysis/phi_ranking.h"
#include "core/model/error.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/step_queue.h"

namespace savepoint {

namespace {

constexpr size_t kBatchTokens = 512, kBatchLogits = size_t{1} << 25;  // of a pass, at most
constexpr double kForeseen = 400;  // cost of what is planned once the texts are known, about

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // of all threads

}  // namespace

struct Experiment::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, ExperimentSettings asked,
         std::shared_ptr<const Phi> given, std::shared_ptr<RunBook> shared)
        : model(model),
          tokenizer(tokenizer),
          settings(std::move(asked)),
          learned(std::move(given)),
          book(std::move(shared)) {
        if (book && book->rotary() != settings.rotary)
            throw InputError("experiment: its runs are shared with others whose keys are rotated otherwise");
        plan("reading the texts", 1, [this] { read(); });
        expect(kForeseen);
    }

    bool wants(PhiKind kind) const {
        return std::find(settings.phi.begin(), settings.phi.end(), kind) != settings.phi.end();
    }
    bool wants(DetectorKind kind) const {
        return std::find(settings.detectors.begin(), settings.detectors.end(), kind) != settings.detectors.end();
    }

    void read() {
        std::vector<LabelledText> all;
        if (!settings.builtin.empty()) {
            all = builtin_texts(settings.builtin, tokenizer, settings.seed);
        } else {
            for (const TextSource& source : settings.data)
                for (LabelledText& text : read_labelled(source)) all.push_back(std::move(text));
        }
        texts = chosen_groups(std::move(all), settings.most, settings.seed);
        capture.emplace(model, settings.rotary);
        ids.resize(texts.size());
        runs.resize(texts.size());
        for (size_t i = 0; i < texts.size(); ++i) {
            ids[i] = encoded(texts[i]);
            if (!texts[i].answers.empty()) plan(counted("answer", i, texts.size()), 4, [this, i] { let_it_answer(i); });
            if (texts[i].text.empty()) texts[i].text = texts[i].shown();
        }
        plan("batching", 0.1, [this] { plan_passes(); });
    }

    // What follows is planned when the lengths are known.
    void plan_passes() {
        expect(-kForeseen);
        std::vector<size_t> fitting;
        for (size_t i = 0; i < ids.size(); ++i)
            if (ids[i].size() >= 2 && static_cast<int64_t>(ids[i].size()) <= settings.longest) fitting.push_back(i);
        plan_batches("forward pass", ids, fitting, [this](size_t i) -> TextRun& { return runs[i]; });
        plan_rest();
    }

    // Of those of `texts` that are not in the book, in batches of one length.
    void plan_batches(const std::string& what, const std::vector<std::vector<TokenId>>& from,
                      const std::vector<size_t>& which, const std::function<TextRun&(size_t)>& to) {
        std::map<size_t, std::vector<size_t>> by_length;
        for (const size_t i : which) {
            const TextRun* known = book ? book->find(from[i], injection()) : nullptr;
            if (known)
                to(i) = *known;
            else
                by_length[from[i].size()].push_back(i);
        }
        std::deque<Step> steps;
        for (const auto& [length, all] : by_length) {
            const size_t tokens = std::min(kBatchTokens, kBatchLogits / static_cast<size_t>(model.config().vocab));
            const size_t most = std::max<size_t>(1, tokens / length);
            for (size_t first = 0; first < all.size(); first += most) {
                const std::vector<size_t> batch(
                    all.begin() + static_cast<std::ptrdiff_t>(first),
                    all.begin() + static_cast<std::ptrdiff_t>(std::min(first + most, all.size())));
                steps.push_back({what + ", " + std::to_string(length) + " tokens", static_cast<double>(batch.size()),
                                 [this, &from, batch, to] { forward(from, batch, to); }});
                expect(steps.back().cost);
            }
        }
        plan_first(std::move(steps));
    }

    void plan_rest() {
        plan("splitting", 0.1, [this] { part_texts(); });
        if (wants(DetectorKind::relative_mahalanobis)) {
            plan("choosing background texts", 1, [this] { choose_background(); });
        }
        if (wants(PhiKind::hedgehog) && !learned) plan_learning();
        plan("baselines", 1, [this] { baselines(); });
        plan_features();
        if (injection()) plan("score by token", 3, [this] { follow_injection(); });
        plan("finishing", 0.1, [this] {
            result.seconds = since(started);
            result.cpu_seconds = cpu_seconds() - cpu_before;
        });
    }

    std::vector<TokenId> encoded(const LabelledText& text) {
        if (!text.ids.empty()) return text.ids;
        std::vector<ChatMessage> turns = text.turns;
        if (turns.empty() && settings.chat) turns = {{"user", text.text}};
        if (turns.empty()) return tokenizer.encode_start(text.text, /*parse_special=*/false);
        result.framing = framing_of(tokenizer);
        return framed(tokenizer, std::move(turns));
    }

    // The model's own greedy answer, and whether it is one of those known.
    void let_it_answer(size_t i) {
        const Clock::time_point start = Clock::now();
        const std::vector<TokenId> answer = greedy_answer(model, tokenizer, ids[i], settings.answer_tokens);
        const std::string said = tokenizer.decode(answer);
        texts[i].anomalous = !mentions_any(said, texts[i].answers);
        texts[i].text += "\nassistant: " + said;
        ids[i].insert(ids[i].end(), answer.begin(), answer.end());
        result.forward_seconds += since(start);
    }

    void forward(const std::vector<std::vector<TokenId>>& from, const std::vector<size_t>& batch,
                 const std::function<TextRun&(size_t)>& to) {
        const Clock::time_point start = Clock::now();
        std::vector<std::vector<TokenId>> sequences;
        for (const size_t i : batch) sequences.push_back(from[i]);
        const auto length = static_cast<int64_t>(sequences.front().size());
        const std::vector<int64_t> ends =
            injection() && book ? injection_ends(texts.front().injected_at, length) : std::vector<int64_t>{length};
        std::vector<std::vector<TextRun>> made =
            run_beginnings(*capture, sequences, ends, injection() ? middle_layer() : -1);
        for (size_t k = 0; k < batch.size(); ++k) {
            to(batch[k]) = made[k].back();
            if (book) book->add(sequences[k], std::move(made[k]));
        }
        result.forward_seconds += since(start);
    }

    // Whether all texts are of one length with something injected at one place, or without it.
    bool injection() const {
        return !texts.empty() && std::all_of(texts.begin(), texts.end(), [&](const LabelledText& text) {
            return text.injected_at >= 2 && text.injected_at == texts.front().injected_at &&
                   text.ids.size() == texts.front().ids.size();
        });
    }
    int64_t middle_layer() const { return layers_of(LayerChoice::middle, model.config().layers).front(); }

    void follow_injection() {
        const auto phi = map(PhiKind::elu1);
        result.injection = injection_curves(runs, judge, phi->of_layer(middle_layer()), middle_layer(),
                                            texts.front().injected_at, texts.front().injected);
    }

    // Only texts that take part go on.
    void part_texts() {
        std::vector<int64_t> length;
        for (const TextRun& run : runs) length.push_back(run.tokens);
        std::vector<bool> kept(texts.size(), true);
        if (settings.length_matched) kept = length_matched(texts, length);
        for (size_t i = 0; i < texts.size(); ++i) kept[i] = kept[i] && length[i] > 0;
        const std::vector<Part> parts = split(texts, kept, settings.train_fraction, settings.seed);
        std::vector<TextRun> some;
        for (size_t i = 0; i < texts.size(); ++i) {
            if (parts[i] == Part::left_out) {
                ++result.left_out;
                continue;
            }
            some.push_back(std::move(runs[i]));
            judge.part.push_back(parts[i]);
            judge.label.push_back(texts[i].anomalous);
            if (parts[i] == Part::test)
                result.texts.push_back({texts[i].text, texts[i].group, texts[i].anomalous, some.back().tokens});
        }
        runs = std::move(some);
        judge.prepare(result, settings);
    }

    void choose_background() {
        std::vector<int64_t> lengths;
        for (size_t i = 0; i < runs.size(); ++i)
            if (judge.is_reference(i)) lengths.push_back(runs[i].tokens);
        plain = plain_texts(tokenizer, lengths, settings.background, settings.seed, PlainUse::background);
        runs.resize(judge.part.size() + plain.size());
        judge.background = settings.background;
        std::vector<size_t> all(plain.size());
        std::iota(all.begin(), all.end(), size_t{0});
        plan_batches("background texts", plain, all,
                     [this](size_t i) -> TextRun& { return runs[judge.part.size() + i]; });
    }

    void plan_learning() {
        plan("reading texts to learn phi from", 1, [this] { plain = hedgehog_texts(tokenizer, {}); });
        training.emplace(model, settings.rotary, settings.hedgehog_steps);
        training->plan(*this, plain, 2);
        plan("learning phi", 0, [this] { learned = training->learned(); });
    }

    void baselines() {
        std::vector<double> length, surprise;
        for (size_t i = 0; i < judge.part.size(); ++i) {
            if (judge.part[i] != Part::test) continue;
            length.push_back(static_cast<double>(runs[i].tokens));
            surprise.push_back(-runs[i].mean_log_probability);
        }
        ExperimentRow row;
        row.features = 1;
        row.source = "length";
        judge.add(result, row, length);
        row.source = "log_probability";
        judge.add(result, row, surprise);
    }

    std::vector<int64_t> all_layers() const {
        std::vector<bool> wanted(static_cast<size_t>(model.config().layers), false);
        for (const LayerChoice choice : settings.layers)
            for (const int64_t layer : layers_of(choice, model.config().layers)) wanted[layer] = true;
        std::vector<int64_t> out;
        for (size_t i = 0; i < wanted.size(); ++i)
            if (wanted[i]) out.push_back(static_cast<int64_t>(i));
        return out;
    }

    std::shared_ptr<const Phi> map(PhiKind kind) const {
        if (kind == PhiKind::hedgehog) return learned;
        PhiSettings phi;
        phi.kind = kind;
        phi.rotary = settings.rotary;
        phi.favor_seed = settings.seed;
        return std::make_shared<const Phi>(phi, model.config().head_dim);
    }

    void plan_features() {
        // Of the last token, and the mean over tokens: the state sums over tokens, and so must what it is held against.
        for (const bool mean : {false, true}) {
            plan("reading activations", 2, [this, mean] {
                std::vector<at::Tensor> rows;
                for (const TextRun& run : runs) rows.push_back(mean ? run.mean_hidden : run.hidden);
                table = at::stack(rows);
            });
            plan_judging("activation", "", mean ? "mean" : "last");
        }
        for (const PhiKind kind : settings.phi) {
            for (const StateForm form : settings.forms) {
                const std::string phi = to_string(kind), name = to_string(form);
                plan("reading states, " + phi + ", " + name, 10, [this, kind, form] {
                    std::vector<bool> reference(runs.size(), false);
                    for (size_t i = 0; i < judge.part.size(); ++i) reference[i] = judge.is_reference(i);
                    const FormTable made = form_table(runs, reference, map(kind), form, all_layers());
                    table = made.values;
                    result.masked += made.masked;
                });
                plan_judging("state", phi, name);
            }
        }
    }

    void plan_judging(const std::string& source, const std::string& phi, const std::string& form) {
        for (const LayerChoice choice : settings.layers) {
            const std::string layers = to_string(choice);
            const std::string what = source + (phi.empty() ? "" : ", " + phi) + ", " + form + ", layers: " + layers;
            plan("judging " + what, choice == LayerChoice::all ? 8 : 3, [=, this] {
                ExperimentRow row;
                row.source = source;
                row.phi = phi;
                row.form = form;
                row.layers = layers;
                const std::vector<int64_t> chosen = layers_of(choice, model.config().layers);
                judge.add_all(result, row, table.index_select(1, at::tensor(chosen, at::kLong)).flatten(1), settings);
            });
        }
    }

    const Transformer& model;
    const Tokenizer& tokenizer;
    ExperimentSettings settings;
    std::shared_ptr<const Phi> learned;
    std::optional<AttentionCapture> capture;
    std::vector<LabelledText> texts;
    std::vector<std::vector<TokenId>> ids;
    std::vector<std::vector<TokenId>> plain;  // background, then what phi is learned from
    std::optional<HedgehogTraining> training;
    std::vector<TextRun> runs;      // of the texts that take part, then of the background
    std::shared_ptr<RunBook> book;  // may be null
    at::Tensor table;               // [runs, layers, width] of the choice at work
    ExperimentJudge judge;
    ExperimentResult result;
    Clock::time_point started = Clock::now();
    double cpu_before = cpu_seconds();
};

Experiment::Experiment(const Transformer& model, const Tokenizer& tokenizer, ExperimentSettings settings,
                       std::shared_ptr<const Phi> learned, std::shared_ptr<RunBook> book)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(settings), std::move(learned), std::move(book))) {}

Experiment::~Experiment() = default;

void Experiment::step() { impl_->run_next(); }

bool Experiment::done() const { return impl_->done(); }

double Experiment::progress() const { return impl_->progress(); }

std::string Experiment::stage() const { return impl_->stage(); }

const ExperimentSettings& Experiment::settings() const { return impl_->settings; }

const ExperimentResult& Experiment::result() const { return impl_->result; }

}  // namespace savepoint
