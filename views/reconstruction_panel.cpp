#include "views/reconstruction_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kFvuTip =
    "FVU: fraction of variance unexplained, squared error over the variance of the same layer. 0 is perfect, 1 is no "
    "better than the mean.";
constexpr const char* kMseTip = "MSE: mean squared error of a component, in the squared units of the activation.";

struct LogScale {
    float low, high;  // powers of ten
    float of(float value) const {
        if (!(value > 0)) return 0;
        return std::clamp((std::log10(value) - low) / (high - low), 0.0f, 1.0f);
    }
};

// Whole decades around the values; exact ones (0) do not stretch it.
LogScale scale_of(std::initializer_list<const std::vector<float>*> all) {
    float low = FLT_MAX, high = -FLT_MAX;
    for (const auto* values : all)
        for (const float value : *values)
            if (value > 1e-12f) low = std::min(low, std::log10(value)), high = std::max(high, std::log10(value));
    if (low > high) return {-4, 0};
    low = std::floor(low), high = std::ceil(high + 1e-3f);
    return {std::max(low, high - 8), std::max(high, low + 1)};
}

std::string power_of_ten(int exponent) {
    char text[24];
    if (exponent >= -3 && exponent <= 3)
        std::snprintf(text, sizeof text, "%g", std::pow(10.0, exponent));
    else
        std::snprintf(text, sizeof text, "1e%d", exponent);
    return text;
}

float left_margin() { return small_width("0.001") + 0.6f * em(); }

ImU32 part_colour(size_t index) {
    // Distinct steps of hue at one lightness; the order of the account is stable, so a part keeps its colour.
    return ImColor::HSV(std::fmod(0.58f + 0.381966f * static_cast<float>(index), 1.0f), 0.42f, 0.82f);
}

std::string ratio(double large, double small) {
    if (!(small > 0) || !(large > 0)) return "-";
    char text[32];
    const double times = large / small;
    std::snprintf(text, sizeof text, times >= 99.5 ? "%.0f x" : "%.1f x", times);
    return text;
}

const std::string& short_name(const std::string& label, std::string& room, float width) {
    room = label;
    while (room.size() > 4 && ImGui::CalcTextSize(room.c_str()).x > width)
        room = room.substr(0, room.size() - 4) + "...";
    return room;
}

void bytes_row(ImU32 colour, const std::string& label, double bytes, double total, const char* tip) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float side = 0.62f * em(), y = at.y + (ImGui::GetTextLineHeight() - side) / 2;
    if (colour != 0) ImGui::GetWindowDrawList()->AddRectFilled({at.x, y}, {at.x + side, y + side}, colour, 2);
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + em());
    std::string cut;
    ImGui::TextUnformatted(short_name(label, cut, ImGui::GetContentRegionAvail().x).c_str());
    tooltip(tip != nullptr ? tip : label.c_str());
    ImGui::TableNextColumn();
    char text[48];
    std::snprintf(text, sizeof text, bytes >= 9.95 ? "%.0f" : "%.1f", bytes);
    const auto right_aligned = [](const std::string& value) {
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() +
                             std::max(0.0f, ImGui::GetContentRegionAvail().x - ImGui::CalcTextSize(value.c_str()).x));
        ImGui::TextUnformatted(value.c_str());
    };
    right_aligned(text);
    ImGui::TableNextColumn();
    std::snprintf(text, sizeof text, "%.1f %%", 100 * bytes / std::max(1e-9, total));
    right_aligned(total > 0 ? text : "");
}

}  // namespace

bool ReconstructionPanel::draw_missing(Frame& frame) const {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.reconstruction != nullptr && snapshot.reconstruction->layers > 0) return false;
    const bool has_text = snapshot.path != nullptr && !snapshot.path->tokens.empty();
    if (snapshot.sidecar->phase == Phase::working) {
        char advice[256];
        std::snprintf(advice, sizeof advice, "%.0f %%: %s. Errors and byte counts appear when it is done.",
                      100 * snapshot.sidecar->progress,
                      snapshot.sidecar->stage.empty() ? "starting" : snapshot.sidecar->stage.c_str());
        empty_state("The sidecar is being fitted", advice);
    } else if (has_text && snapshot.sidecar->phase == Phase::ready) {
        empty_state("Measuring the reconstruction", "Errors appear when the path has been encoded and decoded.");
    } else if (has_text) {
        empty_state("No sidecar yet", "Fit one under Model and sidecar: this panel shows what it loses and saves.");
    } else {
        empty_state("Nothing reconstructed yet",
                    "Generate from a prompt: its states are encoded, decoded and compared.");
    }
    return true;
}

void ReconstructionPanel::draw_layer_chart(const ReconstructionView& view, float height) const {
    const auto& values = measure_ == 0 ? view.hidden_fvu : view.hidden_mse;
    const auto& first = measure_ == 0 ? view.hidden_fvu_first : std::vector<float>{};
    const LogScale scale = scale_of({&values, &first});
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    ImGui::InvisibleButton("chart", {room.x, height});
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{{at.x + left_margin(), at.y + 0.5f * em()}, {at.x + room.x, at.y + height - line}, view.layers, 1};
    draw->AddRectFilled(grid.min, grid.max, palette::background, 2);
    const auto y_of = [&](float t) { return grid.max.y - t * (grid.max.y - grid.min.y); };
    const int decades = static_cast<int>(scale.high - scale.low);
    const int step = static_cast<int>(label_step(decades, grid.max.y - grid.min.y, small_height() + 4));
    for (int d = 0; d <= decades; ++d) {
        const float y = std::round(y_of(static_cast<float>(d) / static_cast<float>(decades)));
        draw->AddLine({grid.min.x, y}, {grid.max.x, y}, with_alpha(palette::border, 0.6f));
        // The lowest stands above its line: below is the axis of the layers.
        const float up = d == 0 ? small_height() : small_height() / 2;
        if (d % step == 0)
            small_text(draw, {grid.min.x - 0.35f * em(), y - up}, palette::text_dim,
                       power_of_ten(static_cast<int>(scale.low) + d), 1);
    }
    const float slot = grid.cell_size().x;
    int64_t over = -1, unused = 0;
    if (ImGui::IsItemHovered()) grid.locate(ImGui::GetMousePos(), over, unused);
    for (int64_t layer = 0; layer < std::min<int64_t>(view.layers, static_cast<int64_t>(values.size())); ++layer) {
        const float x = grid.cell_min(layer, 0).x, mid = x + slot / 2, inset = std::max(0.5f, 0.16f * slot);
        if (layer == over)
            draw->AddRectFilled({x, grid.min.y}, {x + slot, grid.max.y}, with_alpha(palette::raised, 0.9f));
        draw->AddRectFilled({x + inset, y_of(scale.of(values[layer]))}, {x + slot - inset, grid.max.y},
                            with_alpha(palette::control, 0.85f), 1);
        if (layer >= static_cast<int64_t>(first.size())) continue;
        const float y = y_of(scale.of(first[layer])), r = std::min(0.26f * em(), 0.45f * slot);
        draw->AddQuadFilled({mid, y - r}, {mid + r, y}, {mid, y + r}, {mid - r, y}, palette::warning);
        draw->AddQuad({mid, y - r}, {mid + r, y}, {mid, y + r}, {mid - r, y}, palette::background, 1);
    }
    column_labels(draw, grid);
    small_text(draw, {at.x, grid.max.y + 2}, palette::text_dim, "layer");
    if (over < 0 || over >= static_cast<int64_t>(view.hidden_fvu.size()) || !ImGui::BeginTooltip()) return;
    ImGui::Text("layer %d, hidden state after the block", static_cast<int>(over));
    ImGui::Text("FVU  %s", format_number(view.hidden_fvu[over]).c_str());
    if (over < static_cast<int64_t>(view.hidden_fvu_first.size()))
        ImGui::Text("FVU of the first %d tokens  %s", static_cast<int>(view.first_tokens),
                    format_number(view.hidden_fvu_first[over]).c_str());
    if (over < static_cast<int64_t>(view.hidden_mse.size()))
        ImGui::Text("MSE  %s", format_number(view.hidden_mse[over]).c_str());
    ImGui::EndTooltip();
}

void ReconstructionPanel::draw_errors(const ReconstructionView& view, float chart) {
    section("Error of the hidden states",
            "By layer, over the current path, on a logarithmic scale: what is lost by encoding and decoding.");
    static const std::string kMeasures[] = {"FVU", "MSE"};
    segmented("measure", kMeasures, measure_, 0, {}, measure_ == 0 ? kFvuTip : kMseTip);
    const std::string path = std::to_string(view.tokens) + " tokens",
                      others = "the other " + std::to_string(std::max<int64_t>(0, view.tokens - view.first_tokens));
    const std::string first = "first " + std::to_string(view.first_tokens) + " tokens";
    ImGui::SameLine(0, em());
    const float y = ImGui::GetCursorPosY() + (ImGui::GetFrameHeight() - small_height()) / 2;
    ImGui::SetCursorPosY(y);
    swatch(palette::control, measure_ == 0 ? others : path, measure_ == 0 ? kFvuTip : kMseTip);
    if (measure_ == 0) {
        ImGui::SameLine(0, em());
        ImGui::SetCursorPosY(y);
        swatch(palette::warning, first,
               "The first tokens (attention sinks) have activations of another size, and are counted apart; they may "
               "be kept exact.");
    }
    draw_layer_chart(view, chart);
}

void ReconstructionPanel::draw_head_maps(const ReconstructionView& view) const {
    section("Error of keys and values", "By layer and KV head. Both maps share one scale.");
    const auto& keys = measure_ == 0 ? view.key_fvu : view.key_mse;
    const auto& values = measure_ == 0 ? view.value_fvu : view.value_mse;
    const LogScale scale = scale_of({&keys, &values});
    gradient_legend(
        measure_ == 0 ? "FVU" : "MSE", power_of_ten(static_cast<int>(scale.low)).c_str(),
        power_of_ten(static_cast<int>(scale.high)).c_str(), [](float t) { return sequential(t); },
        measure_ == 0 ? kFvuTip : kMseTip);
    const float line = small_height() + 3,
                height = static_cast<float>(view.kv_heads) *
                         std::clamp(5 * em() / static_cast<float>(view.kv_heads), 0.5f * em(), 0.85f * em());
    for (const bool key : {true, false}) {
        const auto& cells = key ? keys : values;
        const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
        const Grid grid{
            {at.x + left_margin() + 0.6f * em(), at.y}, {at.x + room.x, at.y + height}, view.layers, view.kv_heads};
        ImGui::InvisibleButton(key ? "keys" : "values", {room.x, height + (key ? 4 : line)});
        auto* draw = ImGui::GetWindowDrawList();
        const auto cell = [&](int64_t layer, int64_t head) {
            const auto i = static_cast<size_t>(layer * view.kv_heads + head);
            return i < cells.size() ? cells[i] : NAN;
        };
        draw_cells(draw, grid, [&](int64_t layer, int64_t head) {
            return std::isnan(cell(layer, head)) ? sequential(NAN) : sequential(scale.of(cell(layer, head)));
        });
        small_text(draw, {at.x, at.y + (height - small_height()) / 2}, palette::text, key ? "keys" : "values");
        if (!key) column_labels(draw, grid), small_text(draw, {at.x, grid.max.y + 2}, palette::text_dim, "layer");
        int64_t layer = 0, head = 0;
        if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), layer, head)) continue;
        outline_cells(draw, grid, layer, head, 1, 1, palette::text);
        ImGui::SetTooltip("%s of layer %d, KV head %d\n%s  %s", key ? "keys" : "values", static_cast<int>(layer),
                          static_cast<int>(head), measure_ == 0 ? "FVU" : "MSE",
                          format_number(cell(layer, head)).c_str());
    }
}

void ReconstructionPanel::draw_byte_bar(const ReconstructionView& view) const {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float width = ImGui::GetContentRegionAvail().x, height = 1.1f * em();
    ImGui::InvisibleButton("bytes", {width, height});
    auto* draw = ImGui::GetWindowDrawList();
    const double whole = std::max(view.raw_fp16_bytes_per_token, view.bytes_per_token);
    draw->AddRectFilled(at, {at.x + width, at.y + height}, palette::raised, 2);
    double sum = 0;
    for (size_t i = 0; i < view.account.size(); ++i) {
        const float from = at.x + width * static_cast<float>(sum / whole);
        sum += view.account[i].bytes_per_token;
        const float to = at.x + width * static_cast<float>(sum / whole);
        draw->AddRectFilled({from, at.y}, {std::max(from + 0.5f, to - 1), at.y + height}, part_colour(i));
        const ImVec2 mouse = ImGui::GetMousePos();
        if (ImGui::IsItemHovered() && mouse.x >= from && mouse.x < to)
            ImGui::SetTooltip("%s\n%.1f bytes per token", view.account[i].label.c_str(),
                              view.account[i].bytes_per_token);
    }
    const float end = at.x + width * static_cast<float>(sum / whole);
    if (at.x + width - end > 14 * em())
        small_text(draw, {at.x + width - 0.4f * em(), at.y + (height - small_height()) / 2}, palette::text_dim,
                   "full width: raw fp16 state", 1);
}

void ReconstructionPanel::draw_byte_table(const ReconstructionView& view) const {
    if (!ImGui::BeginTable("account", 3, ImGuiTableFlags_SizingStretchProp | ImGuiTableFlags_RowBg)) return;
    ImGui::TableSetupColumn("part", ImGuiTableColumnFlags_WidthStretch);
    ImGui::TableSetupColumn("bytes per token", ImGuiTableColumnFlags_WidthFixed, 7 * em());
    ImGui::TableSetupColumn("share", ImGuiTableColumnFlags_WidthFixed, 4.2f * em());
    ImGui::TableHeadersRow();
    for (size_t i = 0; i < view.account.size(); ++i)
        bytes_row(part_colour(i), view.account[i].label, view.account[i].bytes_per_token, view.bytes_per_token,
                  nullptr);
    ImGui::PushStyleColor(ImGuiCol_Text, palette::accent);
    bytes_row(0, "all parts", view.bytes_per_token, view.bytes_per_token,
              "Everything that must be stored to decode this path, for each of its tokens.");
    ImGui::PopStyleColor();
    bytes_row(0, "raw state in fp16", view.raw_fp16_bytes_per_token, 0,
              "Hidden states, keys and values of every layer, two bytes a number.");
    bytes_row(0, "token ids alone (replay)", view.replay_bytes_per_token, 0,
              "What replay needs: exact, but the whole path is computed again.");
    ImGui::EndTable();
}

void ReconstructionPanel::draw_bytes(const ReconstructionView& view) const {
    section("Bytes",
            "Everything that is stored for the current path, divided by its tokens. Nothing is left out: scales, exact "
            "first tokens, ids and edits are counted.");
    const float width = ImGui::GetContentRegionAvail().x / 4 - ImGui::GetStyle().ItemSpacing.x;
    metric("per token", format_bytes(view.bytes_per_token), "All stored parts, per token of the path.", width);
    ImGui::SameLine();
    metric("vs raw fp16",
           ratio(view.raw_fp16_bytes_per_token, view.bytes_per_token) +
               (view.bytes_per_token <= view.raw_fp16_bytes_per_token ? " less" : ""),
           "Raw fp16 state of hidden, keys and values, over what is stored.", width, palette::good);
    ImGui::SameLine();
    metric("vs replay", ratio(view.bytes_per_token, view.replay_bytes_per_token) + " more",
           "What is stored, over the token ids alone: replay is far smaller, and slower.", width);
    ImGui::SameLine();
    metric("sidecar", format_bytes(static_cast<double>(view.sidecar_bytes)),
           "Size of the sidecar itself, needed once for every session of this model; not in the figures per token.",
           width);
    draw_byte_bar(view);
    draw_byte_table(view);
}

void ReconstructionPanel::draw_resume(Frame& frame, const ReconstructionView& view) const {
    section("Resuming from decoded states",
            "The first half of the path is encoded and decoded, and the second half is read from there: "
            "how far does the model's next-token distribution move?");
    const bool measured = !std::isnan(view.kl_nats);
    if (measured) {
        const float width = ImGui::GetContentRegionAvail().x / 4 - ImGui::GetStyle().ItemSpacing.x;
        metric("mean KL", format_number(view.kl_nats) + " nats",
               "KL(exact || decoded), mean over the tokens after the decoded prefix. 0: no difference.", width);
        ImGui::SameLine();
        metric("95 % below", format_number(view.kl_p95) + " nats", "95 of 100 tokens have a smaller KL than this.",
               width);
        ImGui::SameLine();
        char text[32];
        std::snprintf(text, sizeof text, "%.1f %%", 100 * view.top1_agreement);
        metric("same top token", text, "Share of tokens at which the most likely next token is the same.", width);
        ImGui::SameLine();
        metric("extra loss", format_number(view.delta_nll) + " nats",
               "Mean rise of the negative log-probability of the path's own tokens.", width);
        small_label(std::to_string(view.resume_tokens) + " tokens after a decoded prefix of " +
                        std::to_string(view.resume_prefix),
                    palette::text_dim);
    } else {
        small_label("Not measured for this path yet.", palette::text_dim);
    }
    if (ImGui::Button(measured ? "Measure again" : "Measure")) frame.submit(command::MeasureResume{view.thought, 0});
    tooltip(
        "Decodes the first half of the path, resumes from it and compares each next-token distribution with the exact "
        "one. "
        "Takes about as long as reading the path twice.");
}

void ReconstructionPanel::draw(Frame& frame) {
    if (draw_missing(frame)) return;
    const ReconstructionView& view = *frame.snapshot.reconstruction;
    ImGui::BeginChild("scroll");
    const ImVec2 room = ImGui::GetContentRegionAvail();
    if (room.x > 44 * em() && ImGui::BeginTable("halves", 2, ImGuiTableFlags_SizingStretchSame)) {
        ImGui::TableNextColumn();
        draw_errors(view, std::clamp(room.y - 15 * em(), 5 * em(), 12 * em()));  // the maps below need the rest
        draw_head_maps(view);
        ImGui::TableNextColumn();
        draw_resume(frame, view);
        draw_bytes(view);
        ImGui::EndTable();
    } else {
        draw_errors(view, 8.5f * em());
        draw_head_maps(view);
        draw_resume(frame, view);
        draw_bytes(view);
    }
    ImGui::EndChild();
}

}  // namespace savepoint::views
