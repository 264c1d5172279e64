#pragma once

#include <imgui.h>

#include <memory>
#include <string>
#include <vector>

#include "views/frame.h"
#include "views/graph_camera.h"
#include "views/graph_layout.h"

namespace savepoint::views {

// Every thought of the session and how it came about. Drawn on the window's draw list with less detail the
// further out one zooms; thousands of thoughts stay cheap, since only those in view are drawn.
class GraphPanel : public Panel {
   public:
    const char* title() const override { return "Thought graph"; }
    const char* help() const override {
        return "Every thought and the edge that made it. Click selects, double click makes current, right click for "
               "more. "
               "Wheel zooms, drag pans, F fits.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    enum class Detail { block, bar, card };
    enum class Editing { nothing, label, note };

    void follow(const Frame& frame);
    void fit(bool whole, bool at_once);
    void draw_toolbar(Frame& frame);
    void draw_canvas(Frame& frame);
    void draw_edges(const Frame& frame, ImDrawList* list) const;
    void draw_edge(ImDrawList* list, const GraphLayout::Node& from, const GraphLayout::Node& to, ImU32 colour,
                   float thickness) const;
    void draw_nodes(Frame& frame, ImDrawList* list);
    void draw_legend(ImDrawList* list, ImVec2 low) const;
    void draw_node(const Frame& frame, ImDrawList* list, size_t index, ImVec2 low, ImVec2 high, bool hovered) const;
    void draw_marks(Frame& frame, const ThoughtView& thought, ImVec2 low, ImVec2 high);
    void draw_card(ImDrawList* list, const ThoughtView& thought, ImVec2 low, ImVec2 high) const;
    void draw_outline(const Frame& frame, ImDrawList* list, size_t index, ImVec2 low, ImVec2 high, bool hovered) const;
    void react(Frame& frame, const ThoughtView& thought);
    void move_camera(Frame& frame, bool hovered);
    void draw_tooltip(const ThoughtView& thought) const;
    void draw_menu(Frame& frame);
    void draw_editing(Frame& frame);
    Detail detail() const;
    ImVec2 card_size() const;
    ImVec2 low_corner(const GraphLayout::Node& node) const;  // world

    std::shared_ptr<const GraphView> graph_;
    GraphLayout layout_;
    std::vector<char> on_path_;  // per node
    GraphCamera camera_;
    ThoughtId current_ = 0, menu_ = 0;
    ImVec2 canvas_;
    bool camera_is_users_ = false;  // after a pan or zoom the view no longer follows the graph
    bool shown_ = false, menu_pending_ = false, editing_opened_ = false;
    Editing editing_ = Editing::nothing;
    std::string text_;
};

}  // namespace savepoint::views
