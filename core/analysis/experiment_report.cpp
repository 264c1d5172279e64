#include "core/analysis/experiment_report.h"

#include <cmath>
#include <filesystem>
#include <sstream>
#include <vector>

#include "assets.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

nlohmann::json row_json(const ExperimentRow& r, bool with_scores) {
    nlohmann::json out{{"name", r.name()},
                       {"source", r.source},
                       {"phi", r.phi},
                       {"form", r.form},
                       {"layers", r.layers},
                       {"detector", r.detector},
                       {"equal", r.equal},
                       {"features", r.features},
                       {"auroc", r.auroc},
                       {"auroc_low", r.low},
                       {"auroc_high", r.high},
                       {"auprc", r.auprc},
                       {"fpr_at_95_tpr", r.false_rate_at_95},
                       {"auroc_choice_half", r.auroc_choice},
                       {"auroc_judge_half", r.auroc_judge},
                       {"false_alarms", r.false_alarms},
                       {"hits", r.hits},
                       {"milliseconds", r.milliseconds}};
    if (with_scores) out["score"] = r.score;
    return out;
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
}

}  // namespace

int64_t default_row(const ExperimentResult& r) {
    return r.find("state", "elu1", "read_out", "middle", "mahalanobis", false);
}

std::vector<NamedRow> named_rows(const ExperimentResult& r) {
    std::vector<NamedRow> all{{"default", default_row(r), false},
                              {"best state", r.best("state", false), true},
                              {"best activation", r.best("activation", false), true},
                              {"best state, linear probe", r.best("state", true), true},
                              {"best activation, linear probe", r.best("activation", true), true},
                              {"length alone", r.best("length", false), false},
                              {"log-probability alone", r.best("log_probability", false), false}};
    std::erase_if(all, [](const NamedRow& named) { return named.row < 0; });
    return all;
}

nlohmann::json to_json(const InjectionCurves& injection) {
    nlohmann::json curves = nlohmann::json::array();
    for (const ScoreCurve& curve : injection.curves)
        curves.push_back({{"name", curve.name},
                          {"mean", curve.mean},
                          {"above", curve.above},
                          {"auroc", curve.auroc},
                          {"delay", curve.delay < 0 ? nlohmann::json() : nlohmann::json(curve.delay)}});
    return {{"first", injection.first}, {"injected", injection.injected}, {"curves", curves}};
}

std::string to_csv(const InjectionCurves& injection) {
    std::ostringstream out;
    out << "position,source,mean,above,auroc\n";
    for (const ScoreCurve& curve : injection.curves)
        for (size_t i = 0; i < curve.mean.size(); ++i)
            out << injection.first + static_cast<int64_t>(i) << "," << curve.name << "," << curve.mean[i] << ","
                << curve.above[i] << "," << curve.auroc[i] << "\n";
    return out.str();
}

nlohmann::json to_json(const ExperimentResult& r, const ExperimentSettings& settings, bool with_scores) {
    nlohmann::json rows = nlohmann::json::array(), texts = nlohmann::json::array(), summary = nlohmann::json::array();
    for (const ExperimentRow& row : r.rows) rows.push_back(row_json(row, with_scores));
    for (size_t i = 0; i < r.texts.size(); ++i)
        texts.push_back({{"text", r.texts[i].text},
                         {"group", r.texts[i].group},
                         {"anomalous", r.texts[i].anomalous},
                         {"tokens", r.texts[i].tokens},
                         {"half", r.half[i]}});
    for (const NamedRow& pick : named_rows(r)) {
        nlohmann::json one = row_json(r.rows[static_cast<size_t>(pick.row)], false);
        one["role"] = pick.role;
        one["row"] = pick.row;
        summary.push_back(std::move(one));
    }
    return {{"settings", described(settings)},
            {"summary", summary},
            {"fitted", r.fitted},
            {"calibrated", r.calibrated},
            {"trained", r.trained},
            {"tested", r.texts.size()},
            {"left_out", r.left_out},
            {"masked", r.masked},
            {"forward_seconds", r.forward_seconds},
            {"seconds", r.seconds},
            {"cpu_seconds", r.cpu_seconds},
            {"framing", r.framing},
            {"injection", to_json(r.injection)},
            {"rows", rows},
            {"texts", texts}};
}

std::string to_csv(const ExperimentResult& r) {
    std::ostringstream out;
    out << "source,phi,form,layers,detector,equal,features,auroc,auroc_low,auroc_high,auprc,fpr_at_95_tpr,"
           "auroc_choice_half,auroc_judge_half,false_alarms,hits,milliseconds\n";
    for (const ExperimentRow& row : r.rows) {
        for (const std::string* text : {&row.source, &row.phi, &row.form, &row.layers, &row.detector})
            out << quoted(*text) << ",";
        out << (row.equal ? 1 : 0) << "," << row.features;
        for (const double x : {row.auroc, row.low, row.high, row.auprc, row.false_rate_at_95, row.auroc_choice,
                               row.auroc_judge, row.false_alarms, row.hits, row.milliseconds}) {
            out << ",";
            if (std::isfinite(x)) out << x;
        }
        out << "\n";
    }
    return out.str();
}

std::string to_html(const ExperimentResult& r, const ExperimentSettings& settings) {
    // JSON inside <script>: "</" would end it.
    std::string data = to_json(r, settings, true).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (size_t at = data.find("</"); at != std::string::npos; at = data.find("</", at + 3))
        data.replace(at, 2, "<\\/");
    std::string page(assets::find("experiments/report.html"));
    const std::string slot = "/*DATA*/";
    const size_t at = page.find(slot);
    if (at == std::string::npos) throw Error("experiments/report.html is not among the assets of this program");
    page.replace(at, slot.size(), data);
    return page;
}

void write_report(const std::string& folder, const ExperimentResult& result, const ExperimentSettings& settings) {
    std::error_code problem;
    std::filesystem::create_directories(folder, problem);
    if (problem) throw FileError(folder, "cannot be made: " + problem.message() + "; choose another folder");
    const auto path = [&](const char* name) { return (std::filesystem::path(folder) / name).string(); };
    write_atomically(
        path("report.json"),
        to_json(result, settings, true).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    write_atomically(path("rows.csv"), to_csv(result));
    write_atomically(path("report.html"), to_html(result, settings));
    if (!result.injection.curves.empty()) write_atomically(path("injection.csv"), to_csv(result.injection));
}

}  // namespace savepoint
