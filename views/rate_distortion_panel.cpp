#include "views/rate_distortion_panel.h"

#include <imgui.h>
#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdio>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const std::array<std::string, 3> kParts{"Keys and values", "Hidden states", "Full state"};
constexpr std::array<const char*, 3> kPartNames{"kv", "hidden", "full"};
const std::array<std::string, 2> kMeasures{"KL after resuming", "Variance unexplained"};

constexpr const char* kKlTip =
    "Mean KL(exact || resumed) of the next-token distribution, in nats, over the tokens that follow a decoded prefix.";
constexpr const char* kFvuTip =
    "Fraction of variance unexplained, mean over layers; of keys and values the mean of both. 0 is perfect.";

// One hue a kind of codec, the same in plot and table.
ImU32 kind_colour(const std::string& kind) {
    static const std::array<std::pair<const char*, float>, 9> hues{{{"transform", 0.57f},
                                                                    {"quantized", 0.10f},
                                                                    {"pca", 0.33f},
                                                                    {"lowrank", 0.80f},
                                                                    {"downsampled", 0.90f},
                                                                    {"oja", 0.45f},
                                                                    {"delta", 0.00f},
                                                                    {"learned", 0.15f},
                                                                    {"replay", 0.68f}}};
    for (const auto& [name, hue] : hues)
        if (kind == name) return ImColor::HSV(hue, 0.55f, 0.92f);
    return palette::text_dim;
}

struct LogAxis {
    double low = 1, high = 10;  // values, whole decades or 1-2-5 steps
    float from = 0, to = 1;     // pixels
    float at(double value) const {
        const double t = std::log(value / low) / std::log(high / low);
        return from + static_cast<float>(t) * (to - from);
    }
};

// Around the values with a little room on both sides.
LogAxis log_axis(const std::vector<double>& values, float from, float to) {
    double low = DBL_MAX, high = 0;
    for (const double v : values) low = std::min(low, v), high = std::max(high, v);
    if (!(high > 0)) return {1, 10, from, to};
    return {low / 1.3, high * 1.3, from, to};
}

std::vector<double> log_ticks(const LogAxis& axis, bool every) {
    std::vector<double> ticks;
    for (double decade = std::pow(10.0, std::floor(std::log10(axis.low))); decade <= axis.high; decade *= 10)
        for (const double step : {1.0, 2.0, 5.0})
            if ((every || step == 1.0) && decade * step >= axis.low && decade * step <= axis.high)
                ticks.push_back(decade * step);
    return ticks;
}

void figures_tooltip(const CodecView& c) {
    ImGui::BeginTooltip();
    ImGui::TextUnformatted(c.name.c_str());
    ImGui::Separator();
    ImGui::Text("%.0f bytes a token, %.1f times smaller than fp16", c.bytes_per_token, c.ratio_fp16);
    ImGui::Text("KL %s nats, 95th percentile %s", formatted("%.5f", c.kl_nats).c_str(),
                formatted("%.5f", c.kl_p95).c_str());
    ImGui::Text("same most likely token: %s", formatted("%.1f %%", 100 * c.top1_agreement).c_str());
    ImGui::Text("FVU: hidden %s, keys %s, values %s", formatted("%.4f", c.hidden_fvu).c_str(),
                formatted("%.4f", c.k_fvu).c_str(), formatted("%.4f", c.v_fvu).c_str());
    ImGui::Text("restores %s tokens/s, encodes %s", formatted("%.0f", c.restore_tokens_per_s).c_str(),
                formatted("%.0f", c.encode_tokens_per_s).c_str());
    ImGui::Text("what it keeps once: %s", format_bytes(static_cast<double>(c.sidecar_bytes)).c_str());
    ImGui::EndTooltip();
}

std::string on_one_line(const std::string& text) {
    std::string out;
    for (const char c : text) c == '\n' ? out += "\\n" : out += c;
    return drawable(out);
}

// Why a codec cannot be tried on the current thought; empty: it can.
std::string why_not(const Snapshot& snapshot, const CodecView& codec) {
    constexpr size_t kShortest = 8;
    if (!codec.at_hand) return "Only its figures are known: compare codecs to have it again.";
    if (!snapshot.path || snapshot.path->tokens.size() < kShortest)
        return "Generate a thought of at least 8 tokens first.";
    return {};
}

}  // namespace

double RateDistortionPanel::loss(const CodecView& codec) const {
    if (measure_ == 0) return codec.kl_nats;
    if (part_ == 1) return codec.hidden_fvu;
    const double kv = (codec.k_fvu + codec.v_fvu) / 2;
    return part_ == 2 && std::isfinite(codec.hidden_fvu) ? codec.hidden_fvu : kv;
}

void RateDistortionPanel::draw_settings(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    const auto& view = snapshot.rate_distortion;
    const bool running = view && view->phase == Phase::working;
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("Fit on");
    tooltip("The text that codecs are fitted on: Debian's fortunes, or a text or JSONL file, or a folder of them.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(9 * em());
    ImGui::InputText("##corpus", &settings_.corpus);
    flow(13 * em());
    ImGui::TextUnformatted("Judge on");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(8 * em());
    const std::string shown = settings_.held_out.empty() ? "its held-out part" : settings_.held_out;
    if (ImGui::BeginCombo("##held out", shown.c_str())) {
        for (const auto& [label, value] : {std::pair{"its held-out part", ""}, {"chat", "chat"}, {"code", "code"}})
            if (ImGui::Selectable(label, settings_.held_out == value)) settings_.held_out = value;
        ImGui::EndCombo();
    }
    tooltip(
        "Text that nothing is fitted on: documents left out of the same corpus, the same as chat turns, or Python "
        "source.");
    flow(9 * em());
    ImGui::SetNextItemWidth(5 * em());
    int prefix = static_cast<int>(settings_.prefix);
    if (ImGui::InputInt("prefix", &prefix, 0)) settings_.prefix = std::clamp(prefix, 16, 4096);
    tooltip("Tokens that are decoded before the model goes on; their bytes are what is counted.");
    flow(6 * em());
    ImGui::Checkbox("baselines", &settings_.baselines);
    tooltip("Judge the codecs that need no training too: KIVI, low rank, downsampled, delta, Oja. Takes longer.");
    flow(button_width("Compare codecs"));
    const bool ready = snapshot.model->phase == Phase::ready;
    ImGui::BeginDisabled(!ready || running);
    if (ImGui::Button("Compare codecs")) frame.submit(command::CompareCodecs{settings_});
    ImGui::EndDisabled();
    tooltip(
        ready
            ? "Fits every codec on the text and judges all on the same held-out text: some minutes, in the background."
            : "The model has to be loaded first.");
}

void RateDistortionPanel::draw_progress(const RateDistortionView& view) const {
    if (view.phase == Phase::working) {
        char text[200];
        std::snprintf(text, sizeof text, "%.0f %%  %s", 100 * view.progress, view.stage.c_str());
        progress_bar(static_cast<float>(view.progress), text, ImGui::GetContentRegionAvail().x);
    } else if (view.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", view.error.c_str());
        ImGui::PopStyleColor();
    } else if (view.phase == Phase::absent) {
        ImGui::TextDisabled("Cancelled: what had been judged is shown.");
    }
}

void RateDistortionPanel::draw_choices(const RateDistortionView& view) {
    const auto has = [&](int part) {
        return std::any_of(view.codecs.begin(), view.codecs.end(),
                           [&](const CodecView& c) { return c.part == kPartNames[part]; });
    };
    segmented("part", kParts, part_, 0, has,
              "Which part of the state a codec stores; a dot marks what has been judged.");
    if (part_ == 1) {
        measure_ = 1;
        return;
    }
    flow(16 * em());
    segmented("measure", kMeasures, measure_, 0, {}, measure_ == 0 ? kKlTip : kFvuTip);
}

std::vector<RateDistortionPanel::Mark> RateDistortionPanel::marks(const RateDistortionView& view) const {
    std::vector<Mark> all;
    for (const CodecView& codec : view.codecs)
        if (codec.part == kPartNames[part_] && loss(codec) > 0 && codec.bytes_per_token > 0)
            all.push_back({&codec, codec.bytes_per_token, loss(codec)});
    std::sort(all.begin(), all.end(), [](const Mark& a, const Mark& b) { return a.x < b.x; });
    return all;
}

void RateDistortionPanel::draw_plot(Frame& frame, const RateDistortionView& view, ImVec2 size) {
    const std::vector<Mark> all = marks(view);
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    ImGui::InvisibleButton("plot", size);
    const bool hovered = ImGui::IsItemHovered(), clicked = ImGui::IsItemClicked();
    ImDrawList* draw = ImGui::GetWindowDrawList();
    if (all.empty()) {
        small_text(draw, {origin.x + size.x / 2, origin.y + size.y / 2}, palette::text_dim,
                   "No codec of this part is judged yet", 0.5f);
        return;
    }
    std::vector<double> xs, ys;
    for (const Mark& mark : all) xs.push_back(mark.x), ys.push_back(mark.y);
    const float left = small_width("0.00001") + 0.8f * em(), bottom = 2.2f * small_height(), top = 0.4f * em();
    const LogAxis x = log_axis(xs, origin.x + left, origin.x + size.x - 0.6f * em());
    const LogAxis y = log_axis(ys, origin.y + size.y - bottom, origin.y + top);
    for (const double tick : log_ticks(x, true)) {
        draw->AddLine({x.at(tick), y.from}, {x.at(tick), y.to}, with_alpha(palette::border, 0.6f));
        small_text(draw, {x.at(tick), y.from + 2}, palette::text_dim, formatted("%g", tick), 0.5f);
    }
    for (const double tick : log_ticks(y, std::log10(y.high / y.low) < 2)) {
        draw->AddLine({x.from, y.at(tick)}, {x.to, y.at(tick)}, with_alpha(palette::border, 0.6f));
        small_text(draw, {x.from - 4, y.at(tick) - small_height() / 2}, palette::text_dim, formatted("%g", tick), 1);
    }
    small_text(draw, {(x.from + x.to) / 2, y.from + 1.1f * small_height()}, palette::text, "bytes a token", 0.5f);
    small_text(draw, {x.to, y.to}, palette::text, measure_ == 0 ? "KL, nats" : "FVU", 1);

    // The front: nothing else is both smaller and better.
    double best = DBL_MAX;
    ImVec2 last{};
    for (const Mark& mark : all) {
        if (mark.y >= best) continue;
        const ImVec2 at{x.at(mark.x), y.at(mark.y)};
        if (best < DBL_MAX) draw->AddLine(last, at, with_alpha(palette::text, 0.5f), 1.5f);
        best = mark.y;
        last = at;
    }
    const Mark* nearest = nullptr;
    float distance = 1.2f * em();
    const ImVec2 mouse = ImGui::GetMousePos();
    for (const Mark& mark : all) {
        const ImVec2 at{x.at(mark.x), y.at(mark.y)};
        // Area as the speed of restoring, beside replay's.
        const double speed = mark.codec->restore_tokens_per_s / view.replay_tokens_per_s;
        const float radius =
            em() * std::clamp(0.22f * static_cast<float>(std::sqrt(std::isfinite(speed) ? speed : 1)), 0.2f, 0.9f);
        draw->AddCircleFilled(at, radius, with_alpha(kind_colour(mark.codec->kind), 0.75f));
        if (mark.codec->name == chosen_) draw->AddCircle(at, radius + 2, palette::accent, 0, 2.5f);
        const float d = std::hypot(mouse.x - at.x, mouse.y - at.y);
        if (hovered && d < distance) distance = d, nearest = &mark;
    }
    if (nearest == nullptr) return;
    figures_tooltip(*nearest->codec);
    if (clicked) chosen_ = nearest->codec->name;
    if (hovered && ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) try_on_path(frame, *nearest->codec);
}

void RateDistortionPanel::try_on_path(Frame& frame, const CodecView& codec) const {
    if (why_not(frame.snapshot, codec).empty()) frame.submit(command::TryCodec{frame.snapshot.current, codec.name});
}

void RateDistortionPanel::draw_trial_figures(const CodecTrialView& trial) const {
    const CodecView& c = trial.codec;
    const auto dim = [](const std::string& text) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::text_dim);
        ImGui::TextWrapped("%s", text.c_str());
        ImGui::PopStyleColor();
    };
    ImGui::TextWrapped("%s bytes a token, %sx smaller. KL %s nats, top-1 %s",
                       formatted("%.0f", c.bytes_per_token).c_str(), formatted("%.1f", c.ratio_fp16).c_str(),
                       formatted("%.5f", c.kl_nats).c_str(), formatted("%.1f %%", 100 * c.top1_agreement).c_str());
    tooltip(
        "Of this thought: bytes of the decoded prefix, everything counted, beside fp16; what resuming from it does to "
        "the "
        "next-token distribution of the tokens that follow. Short prefixes cost more a token.");
    dim("over " + std::to_string(trial.followers) + " tokens after a decoded prefix of " +
        std::to_string(trial.prefix) + "; restored " +
        formatted("%.1f", c.restore_tokens_per_s / trial.replay_tokens_per_s) + "x as fast as replay.");
    if (trial.exact_text.empty() && trial.resumed_text.empty()) return;
    const auto line = [](const char* label, const std::string& text, ImU32 colour) {
        ImGui::PushStyleColor(ImGuiCol_Text, colour);
        ImGui::TextWrapped("%s: %s", label, on_one_line(text).c_str());
        ImGui::PopStyleColor();
    };
    line("exact", trial.exact_text, palette::text);
    line("from z", trial.resumed_text, trial.agreement == trial.greedy_tokens ? palette::good : palette::accent);
    tooltip("What the model says after the whole thought, greedily, from its exact and from its decoded state.");
    dim(std::to_string(trial.agreement) + " of " + std::to_string(trial.greedy_tokens) +
        " tokens before the first that differs");
}

const CodecView* RateDistortionPanel::chosen(const RateDistortionView& view) const {
    for (const CodecView& codec : view.codecs)
        if (codec.name == chosen_ && codec.part == kPartNames[part_]) return &codec;
    return nullptr;
}

void RateDistortionPanel::draw_trial(Frame& frame, const CodecView& codec) {
    const std::string problem = why_not(frame.snapshot, codec);
    ImGui::BeginDisabled(!problem.empty());
    if (ImGui::Button("Try on this thought")) try_on_path(frame, codec);
    ImGui::EndDisabled();
    tooltip(problem.empty()
                ? "Encodes the first half of the current thought's path with this codec, decodes it, and lets the "
                  "model go on from there, beside the exact run. Edits on the path are left out: its tokens are read "
                  "again. A double click on its point does the same."
                : problem.c_str());
    ImGui::SameLine();
    ImGui::BeginDisabled(!problem.empty() || codec.part == kPartNames[1]);
    if (ImGui::Button("Keep as z")) frame.submit(command::KeepAsLatent{frame.snapshot.current, codec.name});
    ImGui::EndDisabled();
    tooltip("The whole path as z by this codec, in a thought of its own that goes on from what is decoded.");
    ImGui::TextUnformatted(codec.name.c_str());
    const auto& trial = frame.snapshot.codec_trial;
    if (trial && trial->thought == frame.snapshot.current && trial->codec.name == chosen_) draw_trial_figures(*trial);
}

void RateDistortionPanel::draw_cells(const CodecView& c) const {
    const auto cell = [](const std::string& text) {
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(text.c_str());
    };
    cell(formatted("%.0f", c.bytes_per_token));
    cell(formatted("%.1f", c.ratio_fp16));
    cell(formatted("%.5f", c.kl_nats));
    cell(formatted("%.1f", 100 * c.top1_agreement));
    cell(formatted("%.4f", c.hidden_fvu));
    cell(formatted("%.4f", c.k_fvu));
    cell(formatted("%.4f", c.v_fvu));
    cell(formatted("%.0f", c.restore_tokens_per_s));
    cell(format_bytes(static_cast<double>(c.sidecar_bytes)));
}

void RateDistortionPanel::draw_table(Frame& frame, const RateDistortionView& view) {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_ScrollX |
                                      ImGuiTableFlags_ScrollY | ImGuiTableFlags_Resizable |
                                      ImGuiTableFlags_SizingFixedFit;
    if (!ImGui::BeginTable("codecs", 10, flags, ImGui::GetContentRegionAvail())) return;
    ImGui::TableSetupScrollFreeze(1, 1);
    for (const char* name : {"codec", "bytes/token", "x fp16", "KL nats", "top-1 %", "hidden FVU", "K FVU", "V FVU",
                             "restore tok/s", "kept once"})
        ImGui::TableSetupColumn(name);
    ImGui::TableHeadersRow();
    for (const Mark& mark : marks(view)) {
        const CodecView& codec = *mark.codec;
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        const ImVec2 at = ImGui::GetCursorScreenPos();
        const float side = 0.55f * em(), top = at.y + (ImGui::GetTextLineHeight() - side) / 2;
        ImGui::GetWindowDrawList()->AddRectFilled({at.x, top}, {at.x + side, top + side}, kind_colour(codec.kind), 2);
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 0.9f * em());
        if (ImGui::Selectable(codec.name.c_str(), codec.name == chosen_, ImGuiSelectableFlags_SpanAllColumns))
            chosen_ = codec.name;
        if (ImGui::IsItemHovered()) figures_tooltip(codec);
        if (ImGui::IsItemHovered() && ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left)) try_on_path(frame, codec);
        draw_cells(codec);
    }
    ImGui::EndTable();
}

void RateDistortionPanel::draw(Frame& frame) {
    draw_settings(frame);
    const auto& view = frame.snapshot.rate_distortion;
    if (!view) {
        empty_state(
            "No codecs compared yet",
            "Compare codecs fits each on one text and judges all on another: bytes a token against what resuming "
            "loses. It takes some minutes, and everything else stays usable meanwhile.");
        return;
    }
    draw_progress(*view);
    draw_choices(*view);
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float height = std::max(std::min(0.6f * room.y, room.y - 5.5f * em()), 6 * em());
    // The trial's place is kept when there is none: a double click must find the second time what it found the first.
    draw_plot(frame, *view, {0.48f * room.x, height});
    ImGui::SameLine();
    if (ImGui::BeginChild("trial", {0, height})) {
        if (const CodecView* codec = chosen(*view))
            draw_trial(frame, *codec);
        else
            ImGui::TextWrapped("Click a point or a row to use that codec on your own thought.");
    }
    ImGui::EndChild();
    draw_table(frame, *view);
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> RateDistortionPanel::actions() {
    return {
        {"Compare codecs on held-out text", [this](Frame& frame) { frame.submit(command::CompareCodecs{settings_}); }}};
}

}  // namespace savepoint::views
