#pragma once

#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

namespace savepoint::app {

// Chooses a file or folder, inside the window: it works over any display, and tests can drive it. Folders are
// read on another thread, since a network folder may take its time.
class FileDialog {
   public:
    struct Request {
        std::string title;                 // also the popup's name
        std::string accept;                // the button: "Open", "Save"
        std::vector<std::string> endings;  // ".savepoint" (a folder that is chosen as a whole), ".gguf", ".csv"
        bool saving = false;
        std::string folder, name;  // where to begin, and the suggested name
        std::function<void(const std::string& path)> chosen;
    };

    void open(Request request);
    bool draw();  // true: wants another frame soon
    bool active() const { return active_; }

   private:
    struct Entry {
        std::string name;
        bool folder = false, choice = false;
        double bytes = 0;
    };
    struct Listing {
        std::vector<Entry> entries;
        std::string error;
    };

    void go(const std::string& folder);
    void draw_path();
    void draw_places(float width, float height);
    void draw_entries(float height);
    void draw_bottom();
    void accept(const std::string& name);
    void choose(const std::string& path);
    static Listing read(const std::string& folder, const std::vector<std::string>& endings);

    Request request_;
    std::string folder_, name_, error_, overwrite_;
    Listing listing_;
    std::optional<std::future<Listing>> reading_;
    bool active_ = false, opening_ = false;
};

}  // namespace savepoint::app
