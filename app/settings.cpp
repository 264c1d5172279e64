#include "app/settings.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace savepoint::app {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kColours[] = {"none", "log_probability", "anomaly", "reconstruction", "attention_mass"};
constexpr size_t kMostRecent = 8;

views::TokenColour colour_from(const std::string& name) {
    for (int i = 0; i < static_cast<int>(std::size(kColours)); ++i)
        if (name == kColours[i]) return static_cast<views::TokenColour>(i);
    return views::TokenColour::log_probability;
}

template <class T>
void read(const json& from, const char* key, T& value) {
    const auto found = from.find(key);
    if (found == from.end()) return;
    try {
        value = found->template get<T>();
    } catch (const json::exception&) {
        // A hand-edited file may hold anything; the default stays.
    }
}

void read_generate(const json& from, GenerateSettings& generate) {
    SamplerSettings& sampler = generate.sampler;
    read(from, "greedy", sampler.greedy);
    read(from, "temperature", sampler.temperature);
    read(from, "top_k", sampler.top_k);
    read(from, "top_p", sampler.top_p);
    read(from, "min_p", sampler.min_p);
    read(from, "seed", sampler.seed);
    read(from, "max_tokens", generate.max_tokens);
    read(from, "ignore_end", generate.ignore_end);
    sampler.temperature = std::clamp(sampler.temperature, 0.05f, 2.0f);
    sampler.top_k = std::clamp(sampler.top_k, 0, 1'000'000);
    sampler.top_p = std::clamp(sampler.top_p, 0.05f, 1.0f);
    sampler.min_p = std::clamp(sampler.min_p, 0.0f, 1.0f);
    generate.max_tokens = std::clamp<int64_t>(generate.max_tokens, 1, 8192);
}

json write_generate(const GenerateSettings& generate) {
    const SamplerSettings& s = generate.sampler;
    return {{"greedy", s.greedy},
            {"temperature", s.temperature},
            {"top_k", s.top_k},
            {"top_p", s.top_p},
            {"min_p", s.min_p},
            {"seed", s.seed},
            {"max_tokens", generate.max_tokens},
            {"ignore_end", generate.ignore_end}};
}

}  // namespace

void Settings::remember_session(const std::string& session) {
    if (session.empty()) return;
    std::erase(recent, session);
    recent.insert(recent.begin(), session);
    if (recent.size() > kMostRecent) recent.resize(kMostRecent);
}

std::string config_folder() {
    if (const char* own = std::getenv("SAVEPOINT_CONFIG"); own && *own) return own;
    if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg && *xdg) return std::string(xdg) + "/savepoint";
    const char* home = std::getenv("HOME");
    return std::string(home ? home : ".") + "/.config/savepoint";
}

Settings load_settings(const std::string& folder) {
    Settings settings;
    settings.folder = folder;
    std::ifstream file(fs::path(folder) / "settings.json");
    const json all = file ? json::parse(file, nullptr, false) : json();
    if (!all.is_object()) return settings;
    read(all, "width", settings.width);
    read(all, "height", settings.height);
    read(all, "font_size", settings.font_size);
    read(all, "recent", settings.recent);
    read(all, "closed", settings.closed);
    read(all, "tour_seen", settings.tour_seen);
    read(all, "mark_threshold", settings.mark_threshold);
    if (!(settings.mark_threshold >= 0 && settings.mark_threshold <= 100)) settings.mark_threshold = kMarkThreshold;
    read(all, "memory_budget", settings.memory_budget);
    settings.memory_budget = std::max<int64_t>(settings.memory_budget, -1);
    read(all, "exact_sessions", settings.exact_sessions);
    std::string colour;
    read(all, "colour", colour);
    settings.colour = colour_from(colour);
    if (all.contains("generate") && all["generate"].is_object()) read_generate(all["generate"], settings.generate);
    settings.width = std::clamp(settings.width, 640, 16384);
    settings.height = std::clamp(settings.height, 480, 16384);
    settings.font_size =
        std::isfinite(settings.font_size) ? std::clamp(settings.font_size, kSmallestFont, kLargestFont) : kDefaultFont;
    return settings;
}

void save_settings(const Settings& settings) {
    if (settings.folder.empty()) return;
    const json all = {{"width", settings.width},
                      {"height", settings.height},
                      {"font_size", settings.font_size},
                      {"colour", kColours[static_cast<int>(settings.colour)]},
                      {"generate", write_generate(settings.generate)},
                      {"recent", settings.recent},
                      {"closed", settings.closed},
                      {"tour_seen", settings.tour_seen},
                      {"mark_threshold", settings.mark_threshold},
                      {"memory_budget", settings.memory_budget},
                      {"exact_sessions", settings.exact_sessions}};
    std::error_code error;
    fs::create_directories(settings.folder, error);
    write_whole_file((fs::path(settings.folder) / "settings.json").string(),
                     all.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

bool write_whole_file(const std::string& path, const std::string& text) {
    const std::string part = path + ".part";
    {
        std::ofstream file(part, std::ios::binary);
        file << text;
        if (!file.flush()) return false;
    }
    std::error_code error;
    fs::rename(part, path, error);
    return !error;
}

std::string view_json(views::TokenColour colour, const std::string& layout) {
    const json view = {{"colour", kColours[static_cast<int>(colour)]}, {"layout", layout}};
    return view.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool read_view_json(const std::string& text, views::TokenColour& colour, std::string& layout) {
    const json view = json::parse(text, nullptr, false);
    if (!view.is_object()) return false;
    std::string name;
    read(view, "colour", name);
    read(view, "layout", layout);
    if (!name.empty()) colour = colour_from(name);
    return true;
}

}  // namespace savepoint::app
