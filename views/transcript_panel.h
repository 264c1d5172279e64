#pragma once

#include <imgui.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "views/frame.h"
#include "views/prompt_box.h"
#include "views/token_flow.h"

namespace savepoint::views {

// The path from the root to the current thought as flowing text: one clickable box per token, coloured by a
// quantity; below it the prompt. Cost per frame: the lines in view.
class TranscriptPanel : public Panel {
   public:
    const char* title() const override { return "Transcript"; }
    const char* help() const override {
        return "What the model read and wrote, token by token. Click a token to inspect it in every panel; right-click "
               "to branch there. "
               "Left and right arrows move the selection.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    struct Branch {
        ThoughtId thought = 0;
        EdgeKind edge = EdgeKind::root;
    };

    void draw_header(Frame& frame);
    void draw_legend(const Frame& frame);
    void scale_mass(const Snapshot& snapshot);
    void draw_flow(Frame& frame, float height);
    void draw_lines(Frame& frame, ImVec2 origin, float line_height, float gutter);
    void draw_gutter(const PathView& path, size_t piece, ImVec2 at, float width, float line_height);
    void draw_piece(Frame& frame, const FlowPiece& piece, bool first_of_token, ImVec2 at, float line_height);
    void draw_marks(const Frame& frame, const TokenView& token, ImVec2 low, ImVec2 high);
    void draw_text(const FlowPiece& piece, const TokenView& token, ImVec2 low, ImVec2 high, ImU32 background);
    void react(Frame& frame, const TokenView& token);
    void draw_menu(Frame& frame);
    void draw_replacements(Frame& frame, const TokenView* before);
    void move_by_keys(Frame& frame);
    void keep_in_view(const Frame& frame, float line_height);
    void find_branches(const Frame& frame);
    ImU32 colour_of(const Frame& frame, const TokenView& token) const;

    TokenFlow flow_;
    PromptBox prompt_;
    std::map<int64_t, std::vector<Branch>> branches_;  // by the position that they leave from
    std::shared_ptr<const GraphView> branches_of_graph_;
    std::shared_ptr<const PathView> branches_of_path_;
    TokenRef menu_, cursor_, seen_selection_;  // cursor_: where the keys move from; ahead of the snapshot for a moment
    ThoughtId last_thought_ = 0;
    bool at_bottom_ = true, menu_pending_ = false, flow_fits_ = true;
    float worst_fvu_ = 0.1f, most_mass_ = 1;
    std::shared_ptr<const AttentionMassView> mass_scaled_;
};

}  // namespace savepoint::views
