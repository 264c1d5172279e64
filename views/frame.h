#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/workbench/commands.h"
#include "core/workbench/snapshot.h"
#include "views/token_selection.h"

namespace savepoint::views {

enum class TokenColour { none, log_probability, anomaly, reconstruction, attention_mass };

// A file that a panel wants the user to choose; the shell asks.
struct FileQuestion {
    std::string title;
    std::vector<std::string> endings;  // ".txt"
    std::function<void(const std::string& path)> chosen;
    std::string accept = "Open";  // the button
    bool saving = false;
    std::string name = {};  // suggested
};

// What panels share beside the snapshot: choices of the user that are not the workbench's business.
struct SharedUi {
    TokenColour colour = TokenColour::log_probability;
    GenerateSettings generate;      // of every command that generates
    TokenRef hovered;               // the token under the mouse in any panel, last frame
    TokenRef hovering;              // the same, being gathered in this frame
    int64_t focus_group = -1;       // layer group asked for by a click in another panel; the editor resets it to -1
    std::vector<LatentEdit> edits;  // pending edits of the selected token (owned by the latent editor)
    std::string show_panel;         // title of a panel to bring forward; the shell resets it
    TokenSelection selection;       // tokens picked out together; each panel marks those that it shows
    bool request_fit_graph = false;
    std::optional<FileQuestion> file_question;  // of this frame; the shell takes it
    bool wants_attention_mass = false;          // a panel that is seen shows it; gathered anew in each frame
    bool focus_prompt = false;                  // set by a command of the shell; the transcript resets it
    double redraw_in = INFINITY;                // seconds until the next frame is wanted (animations); reset each frame

    void redraw_after(double seconds) { redraw_in = std::min(redraw_in, seconds); }
};

// What a panel is given each frame.
struct Frame {
    const Snapshot& snapshot;
    const std::function<void(Command)>& submit;
    SharedUi& ui;
};

// Of the jobs of that name the one that is running.
inline void cancel_running(const Frame& frame, const std::string& name) {
    for (const JobView& job : *frame.snapshot.jobs)
        if (job.name == name && job.state == JobView::State::running) frame.submit(command::CancelJob{job.id});
}

// One file per panel. draw() fills the window that the shell has opened under title(); it draws the
// snapshot and submits commands, and holds no model logic.
class Panel {
   public:
    virtual ~Panel() = default;
    virtual const char* title() const = 0;  // also the ImGui window name, and what tests look for
    virtual const char* help() const = 0;   // one sentence for the (?) tooltip
    virtual void draw(Frame& frame) = 0;
    // Entries of the command palette: name and what it does. Called when the palette opens.
    virtual std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() { return {}; }
    bool open = true;
};

}  // namespace savepoint::views
