#include "app/file_dialog.h"

#include <imgui.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::app {
namespace fs = std::filesystem;
using namespace views;

namespace {

constexpr size_t kMostEntries = 5000;

bool ends_with_one(const std::string& name, const std::vector<std::string>& endings) {
    return std::any_of(endings.begin(), endings.end(),
                       [&](const std::string& ending) { return name.ends_with(ending); });
}

// The second double click in a row is a fourth click to Dear ImGui, which reports it on release only.
bool double_clicked() {
    const int last = ImGui::GetIO().MouseClickedLastCount[ImGuiMouseButton_Left];
    return ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left) ||
           (ImGui::IsMouseReleased(ImGuiMouseButton_Left) && last >= 4 && last % 2 == 0);
}

std::string home() {
    const char* folder = std::getenv("HOME");
    return folder && *folder ? folder : "/";
}

}  // namespace

void FileDialog::open(Request request) {
    request_ = std::move(request);
    active_ = opening_ = true;
    error_.clear(), overwrite_.clear();
    name_ = request_.name;
    std::error_code error;
    std::string start = request_.folder;
    if (start.empty() || !fs::is_directory(start, error)) start = home();
    go(start);
}

FileDialog::Listing FileDialog::read(const std::string& folder, const std::vector<std::string>& endings) {
    Listing listing;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        Entry entry;
        entry.name = at->path().filename().string();
        if (entry.name.starts_with(".") || listing.entries.size() >= kMostEntries) continue;
        std::error_code ignored;
        entry.folder = at->is_directory(ignored);
        entry.choice = ends_with_one(entry.name, endings);
        if (!entry.folder && !entry.choice) continue;
        if (!entry.folder) entry.bytes = static_cast<double>(at->file_size(ignored));
        listing.entries.push_back(std::move(entry));
    }
    if (error) listing.error = folder + ": " + error.message();
    std::sort(listing.entries.begin(), listing.entries.end(), [](const Entry& a, const Entry& b) {
        return a.choice != b.choice ? a.choice : a.folder != b.folder ? a.folder : a.name < b.name;
    });
    return listing;
}

void FileDialog::go(const std::string& folder) {
    std::error_code error;
    const fs::path full = fs::absolute(folder, error).lexically_normal();
    folder_ = full.has_filename() || full == full.root_path() ? full.string() : full.parent_path().string();
    overwrite_.clear();
    reading_ = std::async(std::launch::async, read, folder_, request_.endings);
}

bool FileDialog::draw() {
    if (!active_) return false;
    if (opening_) ImGui::OpenPopup(request_.title.c_str());
    const ImVec2 room = ImGui::GetMainViewport()->WorkSize;
    const float em = ImGui::GetFontSize();
    ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Appearing, {0.5f, 0.5f});
    ImGui::SetNextWindowSize({std::min(46 * em, 0.9f * room.x), std::min(30 * em, 0.85f * room.y)},
                             ImGuiCond_Appearing);
    if (!ImGui::BeginPopupModal(request_.title.c_str(), nullptr, ImGuiWindowFlags_NoCollapse)) {
        active_ = false;
        return false;
    }
    if (reading_ && reading_->wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
        listing_ = reading_->get();
        error_ = listing_.error;
        reading_.reset();
    }
    draw_path();
    const float bottom = 2 * ImGui::GetFrameHeightWithSpacing() + ImGui::GetTextLineHeightWithSpacing() +
                         ImGui::GetStyle().ItemSpacing.y;
    const float height = std::max(4 * em, ImGui::GetContentRegionAvail().y - bottom);
    draw_places(8 * em, height);
    ImGui::SameLine();
    draw_entries(height);
    draw_bottom();
    opening_ = false;
    if (!active_) ImGui::CloseCurrentPopup();
    ImGui::EndPopup();
    return reading_.has_value();
}

void FileDialog::draw_path() {
    if (ImGui::Button("Up")) go(fs::path(folder_).parent_path().string());
    tooltip("The folder above.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(-FLT_MIN);
    std::string path = folder_;
    if (ImGui::InputText("##folder", &path, ImGuiInputTextFlags_EnterReturnsTrue)) go(path);
    tooltip("The folder shown. Type another and press Enter.");
}

void FileDialog::draw_places(float width, float height) {
    ImGui::BeginChild("places", {width, height});
    ImGui::TextDisabled("Places");
    if (ImGui::Selectable("Home")) go(home());
    std::error_code error;
    if (ImGui::Selectable("Working folder")) go(fs::current_path(error).string());
    if (ImGui::Selectable("Computer")) go("/");
    ImGui::EndChild();
}

void FileDialog::draw_entries(float height) {
    ImGui::PushStyleColor(ImGuiCol_ChildBg, palette::background);
    ImGui::BeginChild("entries", {0, height}, ImGuiChildFlags_AlwaysUseWindowPadding);
    ImGui::PopStyleColor();
    if (reading_)
        ImGui::TextDisabled("Reading the folder...");
    else if (listing_.entries.empty())
        ImGui::TextDisabled("No folders or matching files here.");
    std::string enter, take;
    for (const Entry& entry : listing_.entries) {
        const float right = ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x;
        const bool whole = entry.choice;  // a session is a folder, but is chosen rather than entered
        const std::string label = drawable(entry.name) + (entry.folder && !whole ? "/" : "") + "###" + entry.name;
        ImGui::PushStyleColor(ImGuiCol_Text, whole ? palette::text : palette::text_dim);
        const bool clicked =
            ImGui::Selectable(label.c_str(), name_ == entry.name, ImGuiSelectableFlags_AllowDoubleClick);
        ImGui::PopStyleColor();
        if (!entry.folder) {
            const std::string size = format_bytes(entry.bytes);
            ImGui::SameLine(right - ImGui::CalcTextSize(size.c_str()).x);
            ImGui::TextDisabled("%s", size.c_str());
        }
        if (!clicked) continue;
        if (whole) name_ = entry.name;
        if (!double_clicked()) continue;
        (whole ? take : enter) = entry.name;
    }
    ImGui::EndChild();
    // Not inside the loop: both replace the list that it walks.
    if (!take.empty())
        accept(take);
    else if (!enter.empty())
        go((fs::path(folder_) / enter).string());
}

void FileDialog::draw_bottom() {
    const float em = ImGui::GetFontSize();
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("Name");
    ImGui::SameLine(0, 8);
    if (opening_) ImGui::SetKeyboardFocusHere();
    ImGui::SetNextItemWidth(-FLT_MIN);
    if (ImGui::InputText("##name", &name_, ImGuiInputTextFlags_EnterReturnsTrue | ImGuiInputTextFlags_AutoSelectAll))
        accept(name_);
    if (ImGui::IsItemEdited()) overwrite_.clear();
    const std::string note = !overwrite_.empty() ? "It exists already; press again to replace it." : error_;
    ImGui::PushStyleColor(ImGuiCol_Text, overwrite_.empty() ? palette::bad : palette::warning);
    ImGui::TextUnformatted(note.c_str());
    ImGui::PopStyleColor();
    const float width = 7 * em;
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x - 2 * width -
                         ImGui::GetStyle().ItemSpacing.x);
    if (ImGui::Button("Cancel", {width, 0}) || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) active_ = false;
    ImGui::SameLine();
    ImGui::BeginDisabled(name_.empty());
    ImGui::PushStyleColor(ImGuiCol_Button, palette::accent_dim);
    if (ImGui::Button((overwrite_.empty() ? request_.accept + "###accept" : "Replace###accept").c_str(), {width, 0}))
        accept(name_);
    ImGui::PopStyleColor();
    ImGui::EndDisabled();
}

void FileDialog::accept(const std::string& name) {
    if (name.empty()) return;
    std::error_code error;
    fs::path path = fs::path(name).is_absolute() ? fs::path(name) : fs::path(folder_) / name;
    if (request_.saving) {
        if (!request_.endings.empty() && !ends_with_one(path.string(), request_.endings))
            path += request_.endings.front();
        if (fs::exists(path, error) && overwrite_ != path.string()) {
            overwrite_ = path.string();
            return;
        }
        return choose(path.string());
    }
    if (!fs::exists(path, error)) {
        error_ = path.string() + " does not exist.";
        return;
    }
    if (fs::is_directory(path, error) && !ends_with_one(path.string(), request_.endings)) {
        name_.clear();
        return go(path.string());
    }
    choose(path.string());
}

void FileDialog::choose(const std::string& path) {
    active_ = false;
    if (request_.chosen) request_.chosen(path);
}

}  // namespace savepoint::app
