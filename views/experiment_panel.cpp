#include "views/experiment_panel.h"

#include <imgui.h>
#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "core/analysis/builtin_names.h"
#include "views/choice_names.h"
#include "views/injection_plot.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr std::array<const char*, 9> kColumns{"choice", "AUROC", "from",   "to",      "other half",
                                              "AUPRC",  "FPR95", "alarms", "features"};
constexpr std::array<const char*, 9> kTips{
    "Source / phi / form / layers / detector; components: through as many fitted components as the others of its kind.",
    "Area under the ROC curve on the test texts: the chance that an anomalous text scores above a normal one. 0.5 is "
    "chance.",
    "Lower end of its 95 % bootstrap interval.",
    "Upper end of its 95 % bootstrap interval.",
    "AUROC on the half of the test texts that did not choose which row is best: the figure to quote for a best row.",
    "Area under the precision-recall curve (average precision).",
    "False positive rate at the threshold that catches 95 % of the anomalous texts.",
    "Normal test texts with a p-value of at most 0.05, as a fraction; about 0.05 where calibration holds.",
    "Columns that the detector was given."};

double value_of(const ExperimentRow& r, int column) {
    switch (column) {
        case 1:
            return r.auroc;
        case 2:
            return r.low;
        case 3:
            return r.high;
        case 4:
            return r.auroc_judge;
        case 5:
            return r.auprc;
        case 6:
            return r.false_rate_at_95;
        case 7:
            return r.false_alarms;
        default:
            return static_cast<double>(r.features);
    }
}

std::string shown(double value, int column) {
    if (!std::isfinite(value)) return "-";
    char text[32];
    std::snprintf(text, sizeof text, column == 8 ? "%.0f" : "%.3f", value);
    return text;
}

// Points of the ROC curve of scores, thresholds from the highest down.
std::vector<ImVec2> roc(const ExperimentRow& row, const std::vector<ExperimentText>& texts) {
    std::vector<size_t> order(row.score.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row.score[a] > row.score[b]; });
    float normal = 0, anomalous = 0;
    std::vector<ImVec2> points{{0, 0}};
    for (size_t i = 0; i < order.size(); ++i) {
        (texts[order[i]].anomalous ? anomalous : normal) += 1;
        if (i + 1 == order.size() || row.score[order[i + 1]] < row.score[order[i]])
            points.push_back({normal, anomalous});
    }
    for (ImVec2& p : points) p = {p.x / std::max(normal, 1.0f), p.y / std::max(anomalous, 1.0f)};
    return points;
}

// By its name for people, whatever the case, or by that of its file.
bool matches(const ExperimentRow& row, const std::string& filter) {
    const auto same = [](char a, char b) {
        return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
    };
    for (const std::string& name : {display_name(row), row.name()})
        if (std::search(name.begin(), name.end(), filter.begin(), filter.end(), same) != name.end()) return true;
    return filter.empty();
}

int64_t default_choice(const ExperimentResult& result) {
    const int64_t found = result.find("state", "elu1", "read_out", "middle", "mahalanobis", false);
    return found >= 0 || result.rows.empty() ? found : 0;
}

}  // namespace

void ExperimentPanel::draw_settings(Frame& frame) {
    const auto& view = frame.snapshot.experiment;
    const bool running = view && view->phase == Phase::working;
    ImGui::SetNextItemWidth(10 * em());
    if (ImGui::BeginCombo("##builtin", builtin_.c_str(), ImGuiComboFlags_HeightLarge)) {
        for (const BuiltinExperiment& one : builtin_experiments()) {
            if (ImGui::Selectable(one.name.c_str(), one.name == builtin_)) builtin_ = one.name;
            tooltip(one.about.c_str());
        }
        ImGui::EndCombo();
    }
    tooltip("Experiments that come with Savepoint; hover over an entry for what it compares.");
    flow(8 * em());
    ImGui::Checkbox("thorough", &thorough_);
    tooltip(
        "All its texts, with four feature maps and three forms of the state: many minutes. Else the read-out of elu + "
        "1 on 200 texts.");
    const bool ready = frame.snapshot.model->phase == Phase::ready;
    flow(button_width("Run"));
    ImGui::BeginDisabled(!ready || running);
    if (ImGui::Button("Run")) {
        frame.submit(command::RunExperiment{builtin_, "", thorough_});
        chosen_ = -1;
    }
    tooltip(ready ? "In the background; everything else stays usable. Cancel it under Jobs."
                  : "The model has to be loaded first.");
    flow(button_width("From a file..."));
    if (ImGui::Button("From a file..."))
        frame.ui.file_question =
            FileQuestion{"Run an experiment", {".json"}, [submit = frame.submit](const std::string& path) {
                             submit(command::RunExperiment{"", path, true});
                         }};
    ImGui::EndDisabled();
    tooltip(
        "A JSON file that names data and settings; README says how. Reads TruthfulQA, ETHICS, MACHIAVELLI, "
        "StereoSet, CommonsenseQA, garak, HarmBench, JSONL, CSV and text.");
}

void ExperimentPanel::draw_export(Frame& frame, bool injected) {
    flow(button_width("Export"));
    if (ImGui::Button("Export")) ImGui::OpenPopup("export");
    tooltip(
        "The report as a page with plots, the table as CSV (and, where something was injected, the curves by token), "
        "or everything as JSON.");
    if (!ImGui::BeginPopup("export")) return;
    for (const auto& [label, name, ending] : {std::tuple{"Report (HTML)", "experiment", ".html"},
                                              {"Table (CSV)", "experiment", ".csv"},
                                              {"Score by token (CSV)", "injection", ".csv"},
                                              {"All (JSON)", "experiment", ".json"}}) {
        const bool by_token = name == std::string("injection");
        if (!ImGui::MenuItem(label, nullptr, false, !by_token || injected)) continue;
        const std::string what = std::string(name) + ending;
        frame.ui.file_question = FileQuestion{"Export the experiment",
                                              {ending},
                                              [submit = frame.submit, what](const std::string& path) {
                                                  submit(command::Export{what, path});
                                              },
                                              "Export",
                                              true,
                                              what};
    }
    ImGui::EndPopup();
}

void ExperimentPanel::draw_progress(const ExperimentView& view) const {
    if (view.phase == Phase::working) {
        char text[200];
        std::snprintf(text, sizeof text, "%.0f %%  %s: %s", 100 * view.progress, view.name.c_str(), view.stage.c_str());
        progress_bar(static_cast<float>(view.progress), text, ImGui::GetContentRegionAvail().x);
    } else if (view.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", view.error.c_str());
        ImGui::PopStyleColor();
    } else if (view.phase == Phase::absent) {
        ImGui::TextDisabled("Cancelled: what had been judged is shown.");
    }
}

std::vector<ExperimentPanel::Curve> ExperimentPanel::curves(const ExperimentResult& r) const {
    std::vector<Curve> all{{"default", default_choice(r), palette::text},
                           {"best state", r.best("state", false), palette::accent},
                           {"best activation", r.best("activation", false), palette::warning},
                           {"probe of the state", r.best("state", true), with_alpha(palette::accent, 0.5f)},
                           {"probe of activations", r.best("activation", true), with_alpha(palette::warning, 0.5f)},
                           {"length alone", r.best("length", false), palette::text_dim},
                           {"log-probability alone", r.best("log_probability", false), palette::good}};
    std::erase_if(all, [](const Curve& curve) { return curve.row < 0; });
    if (chosen_ >= 0 && chosen_ < static_cast<int64_t>(r.rows.size()))
        all.push_back({"chosen", chosen_, palette::edited});
    return all;
}

void ExperimentPanel::draw_curves(const ExperimentResult& result, ImVec2 size) {
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    ImGui::InvisibleButton("curves", size);
    tooltip("ROC curves on the test texts: true positive rate over false positive rate as the threshold falls.");
    ImDrawList* draw = ImGui::GetWindowDrawList();
    const float left = small_width("0.00") + 0.6f * em(), bottom = 2.2f * small_height();
    const ImVec2 low{origin.x + left, origin.y + 0.4f * em()},
        high{origin.x + size.x - 0.4f * em(), origin.y + size.y - bottom};
    const auto at = [&](ImVec2 p) { return ImVec2(low.x + p.x * (high.x - low.x), high.y - p.y * (high.y - low.y)); };
    draw->AddRect(low, high, palette::border);
    draw->AddLine(at({0, 0}), at({1, 1}), with_alpha(palette::text_dim, 0.5f));
    for (const float tick : {0.0f, 0.5f, 1.0f}) {
        char text[8];
        std::snprintf(text, sizeof text, "%.1f", tick);
        small_text(draw, {at({tick, 0}).x, high.y + 2}, palette::text_dim, text, tick);
        small_text(draw, {low.x - 4, at({0, tick}).y - small_height() * (tick > 0.9f ? 0 : 0.8f)}, palette::text_dim,
                   text, 1);
    }
    small_text(draw, {(low.x + high.x) / 2, high.y + 1.1f * small_height()}, palette::text, "false positive rate",
               0.5f);
    for (const Curve& curve : curves(result)) {
        const ExperimentRow& row = result.rows[static_cast<size_t>(curve.row)];
        std::vector<ImVec2> points = roc(row, result.texts);
        for (ImVec2& p : points) p = at(p);
        draw->AddPolyline(points.data(), static_cast<int>(points.size()), curve.colour,
                          curve.role == "chosen" ? 2.5f : 1.5f);
    }
}

void ExperimentPanel::draw_summary(const ExperimentResult& result) {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_SizingFixedFit | ImGuiTableFlags_NoPadOuterX;
    if (!ImGui::BeginTable("summary", 3, flags)) return;
    for (const Curve& curve : curves(result)) {
        const ExperimentRow& row = result.rows[static_cast<size_t>(curve.row)];
        const bool best = curve.role.starts_with("best") || curve.role.starts_with("probe");
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        swatch(curve.colour, curve.role, display_name(row).c_str());
        ImGui::TableNextColumn();
        ImGui::Text("%.3f", best ? row.auroc_judge : row.auroc);
        tooltip(best ? "AUROC on the half of the test texts that did not choose this row." : kTips[1]);
        ImGui::TableNextColumn();
        ImGui::TextDisabled("%.2f-%.2f", row.low, row.high);
        tooltip("95 % bootstrap interval of its AUROC on all test texts.");
    }
    ImGui::EndTable();
    ImGui::TextDisabled("%lld fitted, %zu tested", static_cast<long long>(result.fitted), result.texts.size());
    tooltip("Normal texts that detectors were fitted on, and texts that they were judged on.");
}

void ExperimentPanel::draw_found(const ExperimentResult& result, float room) {
    const bool injection = !result.injection.curves.empty();
    if (injection) {
        static const std::string kPlots[] = {"ROC", "Score by token", "Texts above"};
        segmented("plot", kPlots, plot_, 0, {},
                  "ROC curves of the whole text's scores; or, token by token, the mean score of the injected texts, or "
                  "how many of them are above the 95th percentile of normal ones.");
    }
    const int plot = injection ? plot_ : 0;
    const float top = std::max((injection ? 10 : 11) * em(), 0.36f * room), width = ImGui::GetContentRegionAvail().x;
    if (ImGui::BeginChild("found", {0, top})) {
        if (plot == 0)
            draw_curves(result, {std::min(top, 0.5f * width), top - em()});
        else
            draw_injection_plot(result.injection, plot == 1 ? InjectionMeasure::mean : InjectionMeasure::above,
                                {0.56f * width, top - 0.5f * em()});
        ImGui::SameLine();
        ImGui::BeginGroup();
        if (plot == 0)
            draw_summary(result);
        else
            draw_injection_table(result.injection);
        ImGui::EndGroup();
    }
    ImGui::EndChild();
}

void ExperimentPanel::sort_rows(const ExperimentResult& result) {
    order_.clear();
    for (size_t i = 0; i < result.rows.size(); ++i)
        if (matches(result.rows[i], filter_)) order_.push_back(static_cast<int64_t>(i));
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
        const ExperimentRow &x = result.rows[static_cast<size_t>(descending_ ? b : a)],
                            &y = result.rows[static_cast<size_t>(descending_ ? a : b)];
        if (sort_column_ == 0) return display_name(x) < display_name(y);
        const double u = value_of(x, sort_column_), v = value_of(y, sort_column_);
        return (std::isfinite(u) ? u : -1) < (std::isfinite(v) ? v : -1);
    });
    sorted_ = &result;
}

void ExperimentPanel::draw_table(const ExperimentResult& result, ImVec2 size) {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_ScrollX |
                                      ImGuiTableFlags_ScrollY | ImGuiTableFlags_Resizable | ImGuiTableFlags_Sortable |
                                      ImGuiTableFlags_SizingFixedFit;
    if (!ImGui::BeginTable("choices", static_cast<int>(kColumns.size()), flags, size)) return;
    ImGui::TableSetupScrollFreeze(1, 1);
    for (size_t c = 0; c < kColumns.size(); ++c)
        ImGui::TableSetupColumn(kColumns[c],
                                c == 1 ? ImGuiTableColumnFlags_DefaultSort | ImGuiTableColumnFlags_PreferSortDescending
                                       : ImGuiTableColumnFlags_PreferSortDescending,
                                c == 0 ? 24 * em() : 0);
    ImGui::TableNextRow(ImGuiTableRowFlags_Headers);
    for (size_t c = 0; c < kColumns.size(); ++c) {
        ImGui::TableSetColumnIndex(static_cast<int>(c));
        ImGui::TableHeader(kColumns[c]);
        tooltip(kTips[c]);
    }
    ImGuiTableSortSpecs* specs = ImGui::TableGetSortSpecs();
    if (specs && specs->SpecsDirty && specs->SpecsCount > 0) {
        sort_column_ = specs->Specs[0].ColumnIndex;
        descending_ = specs->Specs[0].SortDirection == ImGuiSortDirection_Descending;
        specs->SpecsDirty = false;
        sorted_ = nullptr;
    }
    if (sorted_ != &result) sort_rows(result);
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(order_.size()));
    while (clipper.Step())
        for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
            const int64_t at = order_[static_cast<size_t>(i)];
            const ExperimentRow& row = result.rows[static_cast<size_t>(at)];
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            const std::string name = display_name(row);
            if (ImGui::Selectable(name.c_str(), at == chosen_, ImGuiSelectableFlags_SpanAllColumns)) chosen_ = at;
            tooltip((name + "\nIn files: " + row.name()).c_str());
            for (int c = 1; c < static_cast<int>(kColumns.size()); ++c) {
                ImGui::TableNextColumn();
                ImGui::TextUnformatted(shown(value_of(row, c), c).c_str());
            }
        }
    ImGui::EndTable();
}

void ExperimentPanel::draw_texts(const ExperimentResult& result, ImVec2 size) {
    const int64_t at =
        chosen_ >= 0 && chosen_ < static_cast<int64_t>(result.rows.size()) ? chosen_ : default_choice(result);
    if (at < 0) return;
    const ExperimentRow& row = result.rows[static_cast<size_t>(at)];
    std::vector<size_t> order(row.score.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row.score[a] > row.score[b]; });
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_RowBg | ImGuiTableFlags_ScrollY | ImGuiTableFlags_SizingFixedFit;
    if (!ImGui::BeginTable("texts", 3, flags, size)) return;
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("label");
    ImGui::TableSetupColumn("score");
    ImGui::TableSetupColumn("test texts by the score of the chosen row", ImGuiTableColumnFlags_WidthStretch);
    ImGui::TableHeadersRow();
    ImGuiListClipper clipper;
    clipper.Begin(static_cast<int>(order.size()));
    while (clipper.Step())
        for (int i = clipper.DisplayStart; i < clipper.DisplayEnd; ++i) {
            const ExperimentText& text = result.texts[order[static_cast<size_t>(i)]];
            ImGui::TableNextRow();
            ImGui::TableNextColumn();
            ImGui::PushStyleColor(ImGuiCol_Text, text.anomalous ? palette::bad : palette::good);
            ImGui::TextUnformatted(text.anomalous ? "anomalous" : "normal");
            ImGui::PopStyleColor();
            ImGui::TableNextColumn();
            ImGui::TextUnformatted(format_number(row.score[order[static_cast<size_t>(i)]]).c_str());
            ImGui::TableNextColumn();
            std::string line = drawable(text.text);
            std::replace(line.begin(), line.end(), '\n', ' ');
            ImGui::TextUnformatted(line.c_str());
            tooltip(drawable(text.text).c_str());
        }
    ImGui::EndTable();
}

void ExperimentPanel::draw(Frame& frame) {
    draw_settings(frame);
    const auto& view = frame.snapshot.experiment;
    if (!view) {
        empty_state("No experiment yet",
                    "Choose one above and press Run: it fits detectors on normal texts and tells how well their scores "
                    "find the anomalous ones among texts that they have not seen.");
        return;
    }
    const ExperimentResult& result = *view->result;
    if (!result.rows.empty()) draw_export(frame, !result.injection.curves.empty());
    draw_progress(*view);
    if (result.rows.empty()) {
        ImGui::TextDisabled("Rows appear here as they are judged.");
        return;
    }
    draw_found(result, ImGui::GetContentRegionAvail().y);
    ImGui::SetNextItemWidth(14 * em());
    if (ImGui::InputTextWithHint("##filter", "Filter choices", &filter_)) sorted_ = nullptr;
    draw_tables(result);
}

// One under the other, or one at a time where both would show a row or two.
void ExperimentPanel::draw_tables(const ExperimentResult& result) {
    const float left = ImGui::GetContentRegionAvail().y;
    if (left > 14 * em()) {
        draw_table(result, {0, 0.52f * left});
        draw_texts(result, {0, 0});
        return;
    }
    static const std::string kTables[] = {"Choices", "Texts"};
    flow(10 * em());
    segmented("table", kTables, table_, 0, {},
              "The choices that were judged, or the test texts by the chosen one's score.");
    table_ == 0 ? draw_table(result, {0, 0}) : draw_texts(result, {0, 0});
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> ExperimentPanel::actions() {
    return {{"Run the experiment that is chosen", [this](Frame& frame) {
                 frame.submit(command::RunExperiment{builtin_, "", thorough_});
             }}};
}

}  // namespace savepoint::views
