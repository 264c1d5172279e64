#pragma once

#include <imgui.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace savepoint::app {

constexpr float kSmallestFont = 11, kLargestFont = 24, kDefaultFont = 15;

// Colours and sizes of the dark theme; `scale` is the monitor's content scale, `font_size` in pixels at scale 1.
void apply_theme(float font_size, float scale);

// The fonts of the program, and the system's for scripts that those lack. System fonts are mapped into memory only
// once a text needs them, the best-suited file first; nothing is loaded for Latin, Greek and Cyrillic.
class Fonts {
   public:
    Fonts();
    ~Fonts();
    Fonts(const Fonts&) = delete;
    Fonts& operator=(const Fonts&) = delete;

    void load();                                      // between frames; sets io.FontDefault
    bool serve(const std::vector<ImWchar>& missing);  // between frames; true: a font was added, draw again
    static ImFont* bold();
    static ImFont* mono();

   private:
    struct Source;
    void find_sources();
    void add(Source& source);

    std::vector<std::unique_ptr<Source>> sources_;
    std::map<ImWchar, bool> served_;  // false: no font on this machine has it
    bool searched_ = false;
};

}  // namespace savepoint::app
