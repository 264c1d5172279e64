#include "views/jobs_panel.h"

#include <imgui.h>
#include <imgui_internal.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const char* state_name(JobView::State state) {
    switch (state) {
        case JobView::State::queued:
            return "waiting";
        case JobView::State::running:
            return "running";
        case JobView::State::done:
            return "done";
        case JobView::State::cancelled:
            return "cancelled";
        case JobView::State::failed:
            return "failed";
    }
    return "?";
}

ImU32 state_colour(JobView::State state) {
    switch (state) {
        case JobView::State::running:
            return palette::accent;
        case JobView::State::done:
            return palette::good;
        case JobView::State::failed:
            return palette::bad;
        default:
            return palette::text_dim;
    }
}

const char* level_name(LogLine::Level level) {
    return level == LogLine::Level::error ? "error" : level == LogLine::Level::warning ? "warning" : "info";
}

std::string clock_time(double time) {
    const auto seconds = static_cast<std::time_t>(time);
    std::tm local{};
    localtime_r(&seconds, &local);
    char buffer[32];
    std::strftime(buffer, sizeof buffer, "%H:%M:%S", &local);
    return buffer;
}

bool alive(const JobView& job) { return job.state == JobView::State::running || job.state == JobView::State::queued; }

// Cut where the cell ends; the whole of it is in the tooltip.
void cell_text(const std::string& text) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float width = ImGui::GetContentRegionAvail().x, height = ImGui::GetFrameHeight();
    const float y = at.y + ImGui::GetStyle().FramePadding.y;
    ImGui::RenderTextEllipsis(ImGui::GetWindowDrawList(), {at.x, y}, {at.x + width, at.y + height}, at.x + width,
                              text.c_str(), nullptr, nullptr);
    ImGui::Dummy({width, height});
    if (ImGui::CalcTextSize(text.c_str()).x > width) tooltip(text.c_str());
}

}  // namespace

// A job, and how many like it had ended one after another before it: those are one line.
struct JobsPanel::Row {
    const JobView* job = nullptr;
    int count = 1;
    double seconds = 0;  // of all of them
};

std::string log_text(const LogLine& line) {
    return clock_time(line.time) + " " + level_name(line.level) + "  " + line.text;
}

void JobsPanel::draw(Frame& frame) {
    draw_jobs(frame);
    draw_log_tools(*frame.snapshot.log);
    draw_log(*frame.snapshot.log);
}

// Newest first.
std::vector<JobsPanel::Row> JobsPanel::rows_of(const std::vector<JobView>& jobs) {
    std::vector<Row> rows;
    for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) {
        const bool like_last = !rows.empty() && rows.back().job->name == job->name &&
                               rows.back().job->state == job->state && job->state == JobView::State::done;
        if (like_last)
            ++rows.back().count, rows.back().seconds += job->seconds;
        else
            rows.push_back({&*job, 1, job->seconds});
    }
    return rows;
}

void JobsPanel::draw_jobs(Frame& frame) {
    const std::vector<Row> rows = rows_of(*frame.snapshot.jobs);
    if (rows.empty()) {
        ImGui::TextDisabled("No jobs yet: generating, fitting and measuring show here with their progress.");
        return;
    }
    const float em = ImGui::GetFontSize(), row = ImGui::GetFrameHeightWithSpacing();
    const float height =
        std::min(row * (static_cast<float>(rows.size()) + 1.2f), 0.5f * ImGui::GetContentRegionAvail().y);
    const ImGuiTableFlags flags = ImGuiTableFlags_ScrollY | ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH;
    if (!ImGui::BeginTable("jobs", 4, flags, {0, height})) return;
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("Job", ImGuiTableColumnFlags_WidthStretch, 1.0f);
    ImGui::TableSetupColumn("Progress", ImGuiTableColumnFlags_WidthStretch, 1.5f);
    ImGui::TableSetupColumn("Time", ImGuiTableColumnFlags_WidthFixed, 5.5f * em);
    ImGui::TableSetupColumn("##cancel", ImGuiTableColumnFlags_WidthFixed, 4 * em);
    ImGui::TableHeadersRow();
    for (const Row& line : rows) draw_row(frame, line);
    ImGui::EndTable();
}

void JobsPanel::draw_row(Frame& frame, const Row& row) {
    const JobView& job = *row.job;
    ImGui::PushID(("job " + std::to_string(job.id)).c_str());
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    cell_text(drawable(job.name) + (row.count > 1 ? ", " + std::to_string(row.count) + " times" : ""));
    ImGui::TableNextColumn();
    if (job.state == JobView::State::running) {
        char percent[16];
        std::snprintf(percent, sizeof percent, "%.0f %%", 100 * job.progress);
        progress_bar(static_cast<float>(job.progress), job.message.empty() ? percent : job.message, 0);
    } else {
        ImGui::AlignTextToFramePadding();
        ImGui::PushStyleColor(ImGuiCol_Text, state_colour(job.state));
        ImGui::TextUnformatted(state_name(job.state));
        ImGui::PopStyleColor();
        if (!job.message.empty() && job.state != JobView::State::queued) {
            ImGui::SameLine();
            cell_text(drawable(job.message));
        }
    }
    if (!job.message.empty()) tooltip(job.message.c_str());
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(job.state == JobView::State::queued ? "-" : format_duration(row.seconds).c_str());
    if (row.count > 1) tooltip(("All together; the last one took " + format_duration(job.seconds) + ".").c_str());
    if (!std::isnan(job.seconds_left) && job.state == JobView::State::running)
        tooltip(("about " + format_duration(job.seconds_left) + " left").c_str());
    ImGui::TableNextColumn();
    if (alive(job) && job.cancellable && ImGui::Button("Cancel", {-FLT_MIN, 0}))
        frame.submit(command::CancelJob{job.id});
    ImGui::PopID();
}

bool JobsPanel::shows(const LogLine& line) const {
    const bool level = line.level == LogLine::Level::error     ? error_
                       : line.level == LogLine::Level::warning ? warning_
                                                               : info_;
    return level && (filter_.empty() || line.text.find(filter_) != std::string::npos);
}

void JobsPanel::draw_log_tools(const std::vector<LogLine>& log) {
    ImGui::SeparatorText("Log");
    ImGui::Checkbox("Info", &info_);
    ImGui::SameLine();
    ImGui::Checkbox("Warnings", &warning_);
    ImGui::SameLine();
    ImGui::Checkbox("Errors", &error_);
    ImGui::SameLine();
    const float copy = ImGui::CalcTextSize("Copy all").x + 2 * ImGui::GetStyle().FramePadding.x;
    ImGui::SetNextItemWidth(std::max(40.0f, ImGui::GetContentRegionAvail().x - copy - ImGui::GetStyle().ItemSpacing.x));
    ImGui::InputTextWithHint("##filter", "Filter", &filter_);
    ImGui::SameLine();
    if (ImGui::Button("Copy all")) {
        std::string all;
        for (const LogLine& line : log)
            if (shows(line)) all += log_text(line) + "\n";
        ImGui::SetClipboardText(all.c_str());
    }
    tooltip("Copies the lines that are shown.");
}

void JobsPanel::draw_log(const std::vector<LogLine>& log) {
    ImGui::PushStyleColor(ImGuiCol_ChildBg, palette::background);
    ImGui::BeginChild("log", {0, 0}, ImGuiChildFlags_AlwaysUseWindowPadding);
    ImGui::PopStyleColor();
    const bool at_bottom = ImGui::GetScrollY() >= ImGui::GetScrollMaxY() - 4;
    const float indent = ImGui::CalcTextSize("00:00:00").x + ImGui::GetStyle().ItemSpacing.x;
    for (const LogLine& line : log) {
        if (!shows(line)) continue;
        ImGui::TextDisabled("%s", clock_time(line.time).c_str());
        ImGui::SameLine(ImGui::GetStyle().WindowPadding.x + indent);
        const ImU32 colour = line.level == LogLine::Level::error     ? palette::bad
                             : line.level == LogLine::Level::warning ? palette::warning
                                                                     : palette::text;
        ImGui::PushStyleColor(ImGuiCol_Text, colour);
        ImGui::PushTextWrapPos(0);
        ImGui::TextUnformatted(drawable(line.text).c_str());
        ImGui::PopTextWrapPos();
        ImGui::PopStyleColor();
    }
    if (at_bottom) ImGui::SetScrollHereY(1.0f);
    ImGui::EndChild();
}

}  // namespace savepoint::views
