#include "views/training_panel.h"

#include <imgui.h>
#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

struct Architecture {
    const char *name, *label, *tip;
};
constexpr std::array<Architecture, 5> kArchitectures{
    {{"layer_specific", "Layer by layer", "A network for each layer, which sees that layer and the token."},
     {"grouped", "Grouped", "A network for each group of layers, which sees the group, the group below and the token."},
     {"unified", "Unified",
      "One network for all groups, told apart by an embedding; groups of a token attend to each other."},
     {"conv", "Convolution", "Grouped, and each network sees the last tokens through a causal convolution."},
     {"attention", "Attention", "Grouped, and each network attends to all tokens before."}}};

const std::array<std::string, 3> kParts{"Keys and values", "Hidden states", "Full state"};
constexpr std::array<const char*, 3> kPartNames{"kv", "hidden", "full"};

struct Series {
    const char* label;
    const char* tip;
    ImU32 colour;
    double (*of)(const TrainingPoint&);
    const char* without = "not yet";
};

std::string axis_number(double value) { return formatted(std::abs(value) < 1000 ? "%.3g" : "%.0f", value); }

// One curve: its own scale, its name and last value above it, dots where held-out text was looked at.
void draw_curve(const std::vector<TrainingPoint>& curve, int64_t rounds, const Series& series, ImVec2 size, bool dots) {
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    ImGui::InvisibleButton(series.label, size);
    ImDrawList* draw = ImGui::GetWindowDrawList();
    std::vector<ImVec2> points;
    double low = DBL_MAX, high = -DBL_MAX, last = NAN;
    for (const TrainingPoint& p : curve) {
        const double value = series.of(p);
        if (!std::isfinite(value)) continue;
        low = std::min(low, value), high = std::max(high, value), last = value;
        points.push_back({static_cast<float>(p.round + 1), static_cast<float>(value)});
    }
    const float top = origin.y + 1.3f * small_height(), bottom = origin.y + size.y - 1.2f * small_height();
    const float left = origin.x + small_width("0.00000"), right = origin.x + size.x - 0.4f * em();
    draw->AddRect({left, top}, {right, bottom}, with_alpha(palette::border, 0.7f));
    small_text(draw, {left, origin.y}, series.colour, series.label);
    if (points.empty()) {
        small_text(draw, {(left + right) / 2, (top + bottom) / 2 - small_height() / 2}, palette::text_dim,
                   series.without, 0.5f);
        tooltip(series.tip);
        return;
    }
    small_text(draw, {right, origin.y}, palette::text, axis_number(last), 1);
    if (!(high > low)) high = low + std::max(1e-9, std::abs(low) * 0.1);
    const double span = high - low;
    const auto place = [&](ImVec2 p) {
        const double t = (p.y - low + 0.05 * span) / (1.1 * span);
        const float x = left + (right - left) * (p.x - 0.5f) / static_cast<float>(std::max<int64_t>(1, rounds));
        return ImVec2(x, bottom - static_cast<float>(t) * (bottom - top));
    };
    for (size_t i = 1; i < points.size(); ++i)
        draw->AddLine(place(points[i - 1]), place(points[i]), series.colour, 1.8f);
    if (dots || points.size() == 1)
        for (const ImVec2 p : points) draw->AddCircleFilled(place(p), 2.6f, series.colour);
    small_text(draw, {left - 4, top - 2}, palette::text_dim, axis_number(high), 1);
    small_text(draw, {left - 4, bottom - small_height()}, palette::text_dim, axis_number(low), 1);
    small_text(draw, {left, bottom + 1}, palette::text_dim, "1");
    small_text(draw, {right, bottom + 1}, palette::text_dim, "round " + std::to_string(rounds), 1);
    if (!ImGui::IsItemHovered()) return;
    const float x = ImGui::GetMousePos().x;
    const ImVec2* nearest = &points.front();
    for (const ImVec2& p : points)
        if (std::abs(place(p).x - x) < std::abs(place(*nearest).x - x)) nearest = &p;
    draw->AddCircle(place(*nearest), 5, palette::text);
    ImGui::BeginTooltip();
    ImGui::Text("round %d: %s", static_cast<int>(nearest->x), formatted("%.6g", nearest->y).c_str());
    ImGui::PushTextWrapPos(24 * em());
    ImGui::TextDisabled("%s", series.tip);
    ImGui::PopTextWrapPos();
    ImGui::EndTooltip();
}

}  // namespace

void TrainingPanel::draw_text(Frame& frame) {
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("Text");
    tooltip(
        "What is trained on; documents are held out of it to judge by. fortunes, dict-gcide (where these packages "
        "of Debian are installed), code (Python's own library), or a file of plain text or of JSONL with a field "
        "\"text\", or a folder of such files.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(
        std::max(8 * em(), ImGui::GetContentRegionAvail().x - button_width("Choose a text file") - em()));
    ImGui::InputText("##text", &settings_.corpus);
    ImGui::SameLine();
    if (ImGui::Button("Choose a text file"))
        frame.ui.file_question = {
            "Choose a text", {".txt", ".md", ".jsonl"}, [this](const std::string& path) { settings_.corpus = path; }};
    tooltip("A file of plain text, or of JSONL with a field \"text\". At least some 10,000 words.");
}

void TrainingPanel::draw_kind() {
    LearnedSettings& codec = settings_.codec;
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("Networks");
    for (const Architecture& one : kArchitectures) {
        flow(button_width(one.label) + 1.5f * em());
        if (ImGui::RadioButton(one.label, codec.architecture == one.name)) codec.architecture = one.name;
        tooltip(one.tip);
    }
    int part = 0;
    for (int i = 0; i < 3; ++i)
        if (codec.part == kPartNames[static_cast<size_t>(i)]) part = i;
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("Stores");
    ImGui::SameLine();
    if (segmented("part", kParts, part, 0, {}, "Which part of the state z holds; of the full state one z for both."))
        codec.part = kPartNames[static_cast<size_t>(part)];
    flow(13 * em());
    ImGui::SetNextItemWidth(5 * em());
    double ratio = codec.ratio;
    if (ImGui::InputDouble("times smaller", &ratio, 0, 0, "%.3g")) codec.ratio = std::clamp(ratio, 1.5, 200.0);
    tooltip("Than the same state in fp16. The step of z is chosen so that held-out bytes come close to it.");
}

void TrainingPanel::draw_more() {
    bool first = true;
    const auto whole = [&](const char* label, int64_t& value, int64_t low, int64_t high, const char* tip) {
        int shown = static_cast<int>(value);
        if (!std::exchange(first, false)) flow(12 * em());
        ImGui::SetNextItemWidth(5 * em());
        if (ImGui::InputInt(label, &shown, 0)) value = std::clamp<int64_t>(shown, low, high);
        tooltip(tip);
    };
    const auto real = [](const char* label, double& value, double low, double high, const char* tip) {
        flow(12 * em());
        ImGui::SetNextItemWidth(5 * em());
        if (ImGui::InputDouble(label, &value, 0, 0, "%.4g")) value = std::clamp(value, low, high);
        tooltip(tip);
    };
    whole("tokens", settings_.fit_tokens, 2048, 1 << 24, "To train on.");
    whole("rounds", settings_.rounds, 1, 100000,
          "Each runs the model on some sequences and takes gradients of them twice.");
    whole("sequences a round", settings_.sequences_per_round, 1, 1024, "Their states are held in memory meanwhile.");
    whole("group", settings_.codec.group_size, 1, 64, "Blocks of the model that are coded together.");
    whole("width", settings_.codec.width, 8, 4096, "Of the networks' inner rows.");
    whole("window", settings_.codec.window, 1, 256, "Convolution: tokens that it spans.");
    auto seed = static_cast<int64_t>(settings_.seed);
    whole("seed", seed, 0, 1 << 30, "Of the first weights and of every draw.");
    settings_.seed = static_cast<uint64_t>(seed);
    real("learning rate", settings_.learning_rate, 1e-7, 1, "Of AdamW, after warming up; falls to a twentieth.");
    real("lambda rate", settings_.lambda_rate, 0, 100,
         "Weight of the nats of z, R(z), beside the squared error in steps.");
    ImGui::BeginDisabled(!settings_.codec.corrections());  // what is decoded does not depend on the networks then
    real("lambda KL", settings_.lambda_kl, 0, 1000,
         "Weight of the KL of next-token distributions in the last rounds; 1: as much as the squared error then.");
    real("KL share", settings_.kl_share, 0, 1, "Share of the rounds, the last ones, that have the KL term.");
    ImGui::EndDisabled();
    static const std::array<std::string, 3> kShown{"rate", "variational", "L2"};
    constexpr std::array<const char*, 3> kRegularizers{"rate", "kl", "l2"};
    const auto chosen = std::find(kRegularizers.begin(), kRegularizers.end(), settings_.regularizer);
    int regularizer = static_cast<int>(chosen - kRegularizers.begin()) % 3;
    bool words = settings_.codec.quantizer == "vq";
    flow(22 * em());
    ImGui::BeginDisabled(words);  // then it is the commitment to them
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("R(z)");
    ImGui::SameLine();
    if (segmented("regularizer", kShown, regularizer, 0, {},
                  "What z is held small by: the nats that coding it takes; the divergence of a Gaussian about z from a "
                  "learned prior (a variational autoencoder); or its squares over their first variances."))
        settings_.regularizer = kRegularizers[static_cast<size_t>(regularizer)];
    ImGui::EndDisabled();
    flow(14 * em());
    if (ImGui::Checkbox("z in words (VQ)", &words)) settings_.codec.quantizer = words ? "vq" : "uniform";
    tooltip(
        "Runs of components share a codebook of 256 words, learned as moving averages, in place of a uniform grid. "
        "R(z) "
        "is then the commitment to them.");
    flow(14 * em());
    ImGui::BeginDisabled(words || settings_.regularizer == "l2");
    bool foretold = settings_.codec.prior == "context";
    if (ImGui::Checkbox("widths foretold", &foretold)) settings_.codec.prior = foretold ? "context" : "fixed";
    ImGui::EndDisabled();
    tooltip(
        "What z is entropy-coded with: the context network says how wide each value will be, from what it sees (the "
        "token, the block below, by kind the tokens before); without, each component has one width for all tokens.");
    flow(14 * em());
    bool corrects = settings_.codec.corrections();
    if (ImGui::Checkbox("corrections", &corrects)) settings_.codec.corrects = corrects;
    tooltip(
        "Networks that change what is rounded and what is decoded, beside those that foretell z. They lower the "
        "squared error, and of keys and values raise the KL: without a word of yours those go without.");
    flow(14 * em());
    ImGui::Checkbox("saves memory", &settings_.checkpointing);
    tooltip(
        "Gradient checkpointing: in the KL term the model's blocks run again in the backward pass, so that no more "
        "than "
        "one of them is held. For long sequences and large batches; the same result, slower.");
    flow(14 * em());
    ImGui::Checkbox("sees the token before", &settings_.codec.recurrent);
    tooltip("Grouped and layer by layer: each token's network sees the decoded state of the token before, z_t-1.");
    if (settings_.codec.recurrent)
        real(
            "own share", settings_.own_share, 0, 1,
            "Share of the tokens that see the state before them as it was decoded, not as it was: grows to this from 0 "
            "over the rounds, since decoding has only its own.");
}

// While it runs the choices are made: one line leaves the room to the curves.
void TrainingPanel::draw_summary(const TrainingSettings& settings) const {
    const auto named = [](const auto& all, const std::string& name) -> std::string {
        for (const auto& one : all)
            if (name == one.name) return one.label;
        return name;
    };
    std::string part = settings.codec.part;
    for (size_t i = 0; i < kParts.size(); ++i)
        if (part == kPartNames[i]) part = kParts[i];
    const std::string text = named(kArchitectures, settings.codec.architecture) + ": " + part + ", " +
                             formatted("%g times smaller", settings.codec.ratio) + ", on " +
                             std::filesystem::path(settings.corpus).filename().string();
    ImGui::TextUnformatted(text.c_str());
    tooltip(settings.corpus.c_str());
}

void TrainingPanel::draw_buttons(Frame& frame) {
    const auto& view = frame.snapshot.training;
    const bool running = view && view->phase == Phase::working;
    if (!running) {
        const bool ready = frame.snapshot.model->phase == Phase::ready;
        ImGui::BeginDisabled(!ready);
        if (ImGui::Button("Train")) {
            frame.submit(command::TrainCodec{settings_});
            more_ = false;  // so that there is room for what comes of it
        }
        ImGui::EndDisabled();
        tooltip(
            ready
                ? "In the background, everything else stays usable. Cut off, it goes on from its last checkpoint when "
                  "the same is asked for again."
                : "The model has to be loaded first.");
    } else {
        if (ImGui::Button(view->paused ? "Go on" : "Pause")) frame.submit(command::PauseTraining{!view->paused});
        tooltip("The processors are yours meanwhile.");
        ImGui::SameLine();
        ImGui::BeginDisabled(view->finishing);
        if (ImGui::Button("Finish now")) frame.submit(command::StopTraining{true});
        ImGui::EndDisabled();
        tooltip("Ends training after this round, then judges and stores what has been learned.");
        ImGui::SameLine();
        if (ImGui::Button("Cancel")) frame.submit(command::StopTraining{false});
        tooltip("The last checkpoint stays: the same settings go on from it.");
    }
    if (running) return;
    ImGui::SameLine();
    if (ImGui::Button(more_ ? "Fewer settings" : "More settings")) more_ = !more_;
}

void TrainingPanel::draw_progress(const TrainingView& view) const {
    if (view.phase == Phase::working) {
        std::string text = formatted("%.0f %%  ", 100 * view.progress) + (view.paused ? "paused" : view.stage);
        if (std::isfinite(view.seconds_left) && !view.paused)
            text += ", about " + format_duration(view.seconds_left) + " left";
        progress_bar(static_cast<float>(view.progress), text, ImGui::GetContentRegionAvail().x);
    } else if (view.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", view.error.c_str());
        ImGui::PopStyleColor();
    } else if (view.phase == Phase::absent) {
        ImGui::TextDisabled("Cancelled. The same settings go on from the last checkpoint.");
    }
}

void TrainingPanel::draw_curves(const TrainingView& view, ImVec2 size) const {
    std::array<Series, 6> series{
        {{"rate, bits/token", "The bits of z under the learned prior, without the entropy coder's own adaptation.",
          palette::accent, [](const TrainingPoint& p) { return p.rate_bits; }},
         {"squared error", "Of the coefficients, in squared steps a token, weighed by what moves the next token.",
          palette::accent, [](const TrainingPoint& p) { return p.distortion; }},
         {"KL, nats",
          "Of next-token distributions after the true and the decoded cache, while that term is on: in the last "
          "rounds, "
          "where there are corrections.",
          palette::accent, [](const TrainingPoint& p) { return p.kl; }, "not on"},
         {"held out: loss",
          "Squared error and weighted rate on documents that are not trained on. Of hidden states, training ends "
          "when it no longer falls.",
          palette::warning, [](const TrainingPoint& p) { return p.held_out_loss; }},
         {"held out: bits/token", "The bits of z on documents that are not trained on.", palette::warning,
          [](const TrainingPoint& p) { return p.held_out_bits; }},
         {"held out: KL, nats",
          "After resuming from a decoded prefix of documents that are not trained on. The networks that do best here "
          "at "
          "equal bytes are kept, and training ends when none do better.",
          palette::warning, [](const TrainingPoint& p) { return p.held_out_kl; }}}};
    if (view.settings.codec.quantizer == "vq")
        series[4] = {
            "words used of 256",
            "Of each codebook: the exponential of the entropy of its words, mean over codebooks. Few: the codebooks "
            "collapse.",
            palette::warning, [](const TrainingPoint& p) { return p.words_used; }};
    const float gap = ImGui::GetStyle().ItemSpacing.x;
    const ImVec2 each{(size.x - 2 * gap) / 3, (size.y - ImGui::GetStyle().ItemSpacing.y) / 2};
    for (size_t i = 0; i < series.size(); ++i) {
        if (i % 3 != 0) ImGui::SameLine();
        draw_curve(view.curve, std::max<int64_t>(view.settings.rounds, 1), series[i], each, i >= 3);
    }
}

void TrainingPanel::draw_groups(const TrainingView& view, ImVec2 size) const {
    const TrainingPoint* looked = nullptr;
    for (const TrainingPoint& p : view.curve)
        if (!p.group_bits.empty()) looked = &p;
    if (!looked) return;
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    ImGui::InvisibleButton("groups", size);
    ImDrawList* draw = ImGui::GetWindowDrawList();
    small_text(draw, origin, palette::warning, "held out: bits of z by group of blocks, lowest first");
    const float top = origin.y + 1.2f * small_height(), bottom = origin.y + size.y - 1.1f * small_height();
    const double high = *std::max_element(looked->group_bits.begin(), looked->group_bits.end());
    const auto count = static_cast<float>(looked->group_bits.size());
    for (size_t g = 0; g < looked->group_bits.size(); ++g) {
        const float x0 = origin.x + size.x * static_cast<float>(g) / count, x1 = x0 + size.x / count - 2;
        const float height = static_cast<float>(looked->group_bits[g] / high) * (bottom - top);
        draw->AddRectFilled({x0, bottom - height}, {x1, bottom}, with_alpha(palette::warning, 0.75f), 2);
        if (size.x / count > small_width("0000"))
            small_text(draw, {(x0 + x1) / 2, bottom + 1}, palette::text_dim, formatted("%.0f", looked->group_bits[g]),
                       0.5f);
    }
    tooltip("Bits a token that each group's z takes under the learned prior, at the last look.");
}

void TrainingPanel::draw_verdict(const TrainingView& view) const {
    if (!std::isfinite(view.against_transform)) return;
    const bool hidden = view.settings.codec.part == "hidden";
    const double less = 100 * (1 - view.against_transform);
    const std::string text = std::string("At equal bytes it loses ") + formatted("%.1f %% ", std::abs(less)) +
                             (less >= 0 ? "less" : "more") + " than the transform (" +
                             (hidden ? "variance unexplained" : "KL after resuming") + ", held-out text).";
    ImGui::PushStyleColor(ImGuiCol_Text, less >= 0 ? palette::good : palette::bad);
    ImGui::TextWrapped("%s", text.c_str());
    ImGui::PopStyleColor();
    tooltip("The transform's curve between the rates that were judged, on logarithmic axes.");
    if (!view.file.empty()) {
        ImGui::TextDisabled("Stored as %s", std::filesystem::path(view.file).filename().c_str());
        tooltip(view.file.c_str());
    }
}

void TrainingPanel::draw_table(const TrainingView& view) const {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_ScrollX |
                                      ImGuiTableFlags_SizingFixedFit;
    const float rows = static_cast<float>(view.codecs.size() + 1);
    if (!ImGui::BeginTable("judged", 7, flags, {0, (rows + 0.8f) * ImGui::GetTextLineHeightWithSpacing()})) return;
    for (const char* name : {"codec", "bytes/token", "x fp16", "KL nats", "top-1 %", "hidden FVU", "kept once"})
        ImGui::TableSetupColumn(name);
    ImGui::TableHeadersRow();
    for (const CodecView& c : view.codecs) {
        ImGui::TableNextRow();
        for (const std::string& text :
             {c.name, formatted("%.0f", c.bytes_per_token), formatted("%.1f", c.ratio_fp16),
              formatted("%.5f", c.kl_nats), formatted("%.1f", 100 * c.top1_agreement), formatted("%.4f", c.hidden_fvu),
              format_bytes(static_cast<double>(c.sidecar_bytes))}) {
            ImGui::TableNextColumn();
            ImGui::TextUnformatted(text.c_str());
        }
    }
    ImGui::EndTable();
}

void TrainingPanel::draw(Frame& frame) {
    const auto& view = frame.snapshot.training;
    if (view && view->phase == Phase::working) {
        draw_summary(view->settings);
    } else {
        draw_text(frame);
        draw_kind();
        if (more_) draw_more();
    }
    draw_buttons(frame);
    if (!view) {
        empty_state(
            "Nothing trained yet",
            "Choose a text, the kind of networks and how small z may be, then Train. It fits the transform first, "
            "trains networks around it for some minutes, and says at the end which of the two loses less.");
        return;
    }
    draw_progress(*view);
    draw_verdict(*view);
    if (!view->codecs.empty()) draw_table(*view);
    if (view->curve.empty()) {
        if (view->phase == Phase::working)
            ImGui::TextDisabled("Curves appear with the first round, once the transform is fitted.");
        return;
    }
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float groups = 4.5f * em();
    draw_curves(*view, {room.x, std::max(11 * em(), room.y - groups - em())});
    draw_groups(*view, {room.x, groups});
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> TrainingPanel::actions() {
    return {{"Train a codec", [this](Frame& frame) { frame.submit(command::TrainCodec{settings_}); }}};
}

}  // namespace savepoint::views
