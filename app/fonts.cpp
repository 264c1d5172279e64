#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "app/theme.h"
#include "assets.h"

#define STBTT_STATIC
#define STB_TRUETYPE_IMPLEMENTATION
#include <imstb_truetype.h>

namespace savepoint::app {
namespace fs = std::filesystem;

// A font file of the system, mapped on first use.
struct Fonts::Source {
    std::string path;
    void* data = nullptr;
    size_t size = 0;
    bool tried = false, added = false;
    stbtt_fontinfo info{};

    ~Source() {
        if (data) munmap(data, size);
    }

    bool open() {
        if (tried) return data != nullptr;
        tried = true;
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        struct stat about {};
        if (fstat(file, &about) == 0 && about.st_size > 64) {
            size = static_cast<size_t>(about.st_size);
            void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
            if (mapped != MAP_FAILED) data = mapped;
        }
        ::close(file);
        if (!data) return false;
        const auto* bytes = static_cast<const unsigned char*>(data);
        const int offset = stbtt_GetFontOffsetForIndex(bytes, 0);
        if (offset >= 0 && stbtt_InitFont(&info, bytes, offset)) return true;
        munmap(data, size);
        data = nullptr;
        return false;
    }

    bool has(ImWchar code_point) { return open() && stbtt_FindGlyphIndex(&info, static_cast<int>(code_point)) != 0; }
};

namespace {

ImFont* g_bold = nullptr;
ImFont* g_mono = nullptr;

ImFont* add_asset(const char* name) {
    const std::string_view bytes = assets::find(name);
    if (bytes.empty()) return nullptr;
    ImFontConfig config;
    config.FontDataOwnedByAtlas = false;
    return ImGui::GetIO().Fonts->AddFontFromMemoryTTF(const_cast<char*>(bytes.data()), static_cast<int>(bytes.size()),
                                                      0, &config);
}

std::vector<std::string> folders() {
    std::vector<std::string> all = {"/usr/share/fonts", "/usr/local/share/fonts"};
    if (const char* home = std::getenv("HOME")) all.push_back(std::string(home) + "/.local/share/fonts");
    return all;
}

// Smaller is better; negative: not wanted. Regular sans faces first, as they sit best beside the interface's own.
int rank(const std::string& name) {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (!name.ends_with(".ttf") && !name.ends_with(".otf") && !name.ends_with(".ttc")) return -1;
    if (has("Bold") || has("Italic") || has("Light") || has("Thin") || has("Black") || has("Oblique") || has("Color"))
        return -1;
    if (name == "NotoSans-Regular.ttf") return 0;
    if (has("NotoSansMath") || has("NotoSansSymbols")) return 1;
    if (has("NotoSansCJK")) return 2;
    if (has("NotoSans") && !has("Mono")) return 3;
    if (has("Noto")) return 4;
    if (has("DejaVuSans.ttf")) return 5;
    return has("Mono") ? 8 : 6;
}

}  // namespace

Fonts::Fonts() = default;
Fonts::~Fonts() = default;

ImFont* Fonts::bold() { return g_bold; }
ImFont* Fonts::mono() { return g_mono; }

void Fonts::load() {
    ImGuiIO& io = ImGui::GetIO();
    io.FontDefault = add_asset("fonts/Roboto-Regular.ttf");
    g_bold = add_asset("fonts/Roboto-Bold.ttf");
    g_mono = add_asset("fonts/Inconsolata-Medium.ttf");
    if (!io.FontDefault) io.FontDefault = io.Fonts->AddFontDefault();
    if (!g_bold) g_bold = io.FontDefault;
    if (!g_mono) g_mono = io.FontDefault;
}

bool Fonts::serve(const std::vector<ImWchar>& missing) {
    bool added = false;
    for (const ImWchar code_point : missing) {
        if (served_.count(code_point)) continue;
        find_sources();
        bool& served = served_[code_point];
        for (const auto& source : sources_) {
            if (source->added || !source->has(code_point)) continue;
            add(*source);
            served = added = true;
            break;
        }
    }
    return added;
}

void Fonts::find_sources() {
    if (searched_) return;
    searched_ = true;
    std::vector<std::pair<int, std::string>> found;
    for (const std::string& folder : folders()) {
        std::error_code error;
        for (fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end;
             !error && at != end; at.increment(error)) {
            const int place = rank(at->path().filename().string());
            if (place >= 0) found.push_back({place, at->path().string()});
        }
    }
    std::sort(found.begin(), found.end());
    for (auto& [place, path] : found) {
        sources_.push_back(std::make_unique<Source>());
        sources_.back()->path = std::move(path);
    }
}

void Fonts::add(Source& source) {
    source.added = true;
    ImGuiIO& io = ImGui::GetIO();
    for (ImFont* font : {io.FontDefault, g_bold, g_mono}) {
        ImFontConfig config;
        config.MergeMode = true;
        config.DstFont = font;
        config.FontDataOwnedByAtlas = false;
        io.Fonts->AddFontFromMemoryTTF(source.data, static_cast<int>(source.size), 0, &config);
    }
}

}  // namespace savepoint::app
