#include "core/analysis/experiment_series.h"

#include <algorithm>
#include <cstdio>

#include "core/analysis/builtin_names.h"
#include "core/analysis/experiment_report.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

std::string cell(const char* format, double value) {
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

std::string named_cell(const ExperimentResult& result, const std::string& role) {
    for (const NamedRow& named : named_rows(result)) {
        if (named.role != role) continue;
        const ExperimentRow& row = result.rows[static_cast<size_t>(named.row)];
        std::string out = cell("%.2f", named.best ? row.auroc_judge : row.auroc);
        if (role == "default") out += " (" + cell("%.2f", row.low) + " to " + cell("%.2f", row.high) + ")";
        return out;
    }
    return "-";
}

std::string row_of(const ExperimentSeries::Finished& one) {
    if (!one.refused.empty()) return "| " + one.settings.name + " | " + one.refused + " |\n";
    std::string out = "| " + one.settings.name + " | " + std::to_string(one.result.texts.size()) + " |";
    for (const char* role : {"default", "best state", "best activation", "best state, linear probe",
                             "best activation, linear probe", "length alone", "log-probability alone"})
        out += " " + named_cell(one.result, role) + " |";
    return out + " " + cell("%.0f", one.result.seconds) + " | " + cell("%.0f", one.result.cpu_seconds) + " |\n";
}

// "0; 0.93 / 0.12": after how many tokens the mean passes, texts above at the last injected token and at the end.
std::string rise_cell(const InjectionCurves& injection, const ScoreCurve& curve) {
    const auto last = static_cast<size_t>(injection.injected - 1 - injection.first);
    return (curve.delay < 0 ? "never" : std::to_string(curve.delay)) + "; " + cell("%.2f", curve.above.at(last)) +
           " / " + cell("%.2f", curve.above.back());
}

}  // namespace

ExperimentSeries::ExperimentSeries(const Transformer& model, const Tokenizer& tokenizer,
                                   std::vector<ExperimentSettings> settings, std::shared_ptr<const Phi> learned)
    : model_(model), tokenizer_(tokenizer), settings_(std::move(settings)), learned_(std::move(learned)) {
    if (settings_.empty()) throw InputError("experiments: there are none");
    if (std::any_of(settings_.begin(), settings_.end(),
                    [&](const ExperimentSettings& one) { return one.rotary != settings_.front().rotary; }))
        throw InputError("experiments: all must look at keys either before rotary embedding or after it");
    book_ = std::make_shared<RunBook>(settings_.front().rotary);
}

void ExperimentSeries::step() {
    if (done()) return;
    const ExperimentSettings& settings = settings_[finished_.size()];
    try {
        if (!now_) {
            book_->forget();
            now_ = std::make_unique<Experiment>(model_, tokenizer_, settings, learned_, book_);
        }
        now_->step();
        if (!now_->done()) return;
        finished_.push_back({settings, now_->result(), ""});
    } catch (const InputError& problem) {
        finished_.push_back({settings, {}, problem.what()});
    }
    now_.reset();
}

double ExperimentSeries::progress() const {
    return (static_cast<double>(finished_.size()) + (now_ ? now_->progress() : 0)) /
           static_cast<double>(settings_.size());
}

std::string ExperimentSeries::stage() const {
    if (done()) return "";
    return settings_[finished_.size()].name + (now_ ? ": " + now_->stage() : "");
}

std::vector<ExperimentSettings> all_builtin_experiments(int64_t most) {
    std::vector<ExperimentSettings> all;
    for (const BuiltinExperiment& one : builtin_experiments()) {
        all.push_back(brief_experiment(one.name));
        all.back().most = most;
    }
    return all;
}

std::string to_markdown(const std::vector<ExperimentSeries::Finished>& all) {
    std::string out =
        "| experiment | test texts | default | best state | best activation | probe, state | probe, activation | "
        "length | log-probability | seconds | CPU seconds |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | "
        "--- | --- |\n";
    for (const ExperimentSeries::Finished& one : all) out += row_of(one);
    std::string rises;
    for (const ExperimentSeries::Finished& one : all) {
        if (one.result.injection.curves.empty()) continue;
        rises += "| " + one.settings.name + " |";
        for (const ScoreCurve& curve : one.result.injection.curves)
            rises += " " + rise_cell(one.result.injection, curve) + " |";
        rises += "\n";
    }
    if (rises.empty()) return out;
    return out +
           "\nTokens from the first injected one until the mean score passes the 95th percentile of normal texts at "
           "the "
           "same position; texts above it at the last injected token / at the end of the text.\n\n| experiment | state "
           "| activation | log-probability |\n| --- | --- | --- | --- |\n" +
           rises;
}

nlohmann::json to_json(const std::vector<ExperimentSeries::Finished>& all) {
    nlohmann::json list = nlohmann::json::array();
    double seconds = 0, cpu_seconds = 0;
    for (const ExperimentSeries::Finished& one : all) {
        nlohmann::json found = to_json(one.result, one.settings, false);
        found.erase("rows");
        found.erase("texts");
        found["name"] = one.settings.name;
        found["refused"] = one.refused;
        list.push_back(std::move(found));
        seconds += one.result.seconds;
        cpu_seconds += one.result.cpu_seconds;
    }
    return {{"experiments", list}, {"seconds", seconds}, {"cpu_seconds", cpu_seconds}};
}

}  // namespace savepoint
