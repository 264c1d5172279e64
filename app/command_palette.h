#pragma once

#include <functional>
#include <string>
#include <vector>

namespace savepoint::app {

// One thing that can be done, as the menu and the palette show it.
struct Action {
    std::string name;
    std::string shortcut;  // as text; empty: none
    std::function<void()> run;
};

// A list of every action, narrowed down by typing parts of its name in order.
class CommandPalette {
   public:
    void open(std::vector<Action> actions);
    void draw();
    bool active() const { return active_; }

   private:
    void filter();
    void draw_list(float height);

    std::vector<Action> actions_;
    std::vector<size_t> shown_;
    std::string query_;
    int chosen_ = 0;
    bool opening_ = false, active_ = false, moved_ = false;
};

// How well `query` fits `name`: all its words must occur, in any case; higher is better, negative: not at all.
int match(const std::string& query, const std::string& name);

}  // namespace savepoint::app
