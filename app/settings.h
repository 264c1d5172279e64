#pragma once

#include <string>
#include <vector>

#include "app/theme.h"
#include "views/frame.h"

namespace savepoint::app {

// What the program remembers between runs, in <config folder>/settings.json. Damaged or missing values fall back
// to these defaults; writing goes through a temporary file.
struct Settings {
    int width = 1600, height = 900;
    float font_size = kDefaultFont;
    views::TokenColour colour = views::TokenColour::log_probability;
    GenerateSettings generate;
    std::vector<std::string> recent;  // session folders, latest first
    std::vector<std::string> closed;  // titles of panels that are not shown
    bool tour_seen = false;
    double mark_threshold = kMarkThreshold;  // anomaly percentile
    int64_t memory_budget = -1;  // bytes of the states of all thoughts; 0: no limit, -1: what the workbench takes
    bool exact_sessions = true;  // sessions keep exact keys and values; else replay brings them back
    std::string folder;          // where it was read from; empty: nothing is written (tests)

    void remember_session(const std::string& session);
};

std::string config_folder();  // $SAVEPOINT_CONFIG, else $XDG_CONFIG_HOME/savepoint, else ~/.config/savepoint
Settings load_settings(const std::string& folder);
void save_settings(const Settings& settings);  // errors are not worth a dialog: it is tried again at the next exit

// All or nothing: through a temporary file beside it. false: it could not be written.
bool write_whole_file(const std::string& path, const std::string& text);

// A session's part of the window: the token colour and the arrangement of panels, as the JSON that is saved with it.
std::string view_json(views::TokenColour colour, const std::string& layout);
bool read_view_json(const std::string& json, views::TokenColour& colour, std::string& layout);

}  // namespace savepoint::app
