#pragma once

#include <string>

#include "views/frame.h"

namespace savepoint::views {

// The prompt, what is sent with it, and the buttons that generate. Enter sends, Shift+Enter breaks the line.
class PromptBox {
   public:
    float height() const;  // what draw() will use, in pixels
    void draw(Frame& frame);

   private:
    void draw_mode(const Frame& frame);
    void draw_input(Frame& frame);
    void draw_buttons(Frame& frame);
    void send(Frame& frame, ThoughtId after);
    bool chat() const { return chat_ && has_template_; }

    std::string prompt_, system_;
    bool chat_ = true, own_system_ = false, show_system_ = false;  // chat_: as last chosen
    bool has_template_ = true;
    bool refocus_ = false;
};

// The settings of every command that generates, as a popover's content.
void draw_generate_settings(GenerateSettings& settings);
std::string summary(const GenerateSettings& settings);  // "T 0.8, top-p 0.95, seed 0, 128 tokens"

}  // namespace savepoint::views
