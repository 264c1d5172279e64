#include "views/token_flow.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>

#include "views/widgets.h"

namespace savepoint::views {
namespace {

float text_width(const std::string& text, uint32_t first, uint32_t last) {
    return ImGui::CalcTextSize(text.data() + first, text.data() + last).x;
}

// "<|im_start|>" is shown as "im_start" in its chip.
std::string chip_name(const std::string& text) {
    if (text.size() > 4 && text.starts_with("<|") && text.ends_with("|>")) return text.substr(2, text.size() - 4);
    if (text.size() > 2 && text.front() == '<' && text.back() == '>') return text.substr(1, text.size() - 2);
    return text.empty() ? "\\0" : visible(text);
}

}  // namespace

float TokenFlow::chip_padding() { return 0.35f * ImGui::GetFontSize(); }

size_t TokenFlow::first_piece(int32_t line) const { return line < lines() ? line_starts_[line] : pieces_.size(); }

int32_t TokenFlow::line_of(int64_t token) const {
    if (token < 0 || token >= static_cast<int64_t>(tokens_.size())) return -1;
    const size_t piece = tokens_[token].first_piece;
    return piece < pieces_.size() ? pieces_[piece].line : -1;
}

void TokenFlow::update(const PathView& path, float width) {
    const Key key = {width, ImGui::GetFontSize(), ImGui::GetFont()->Sources.Size};
    if (!(key == key_)) drop_from(0);
    key_ = key;
    size_t same = 0;
    const size_t both = std::min(tokens_.size(), path.tokens.size());
    while (same < both && tokens_[same].id == path.tokens[same]->id && tokens_[same].text == path.tokens[same]->text)
        ++same;
    if (same < tokens_.size()) drop_from(same);
    for (size_t i = tokens_.size(); i < path.tokens.size(); ++i) add(*path.tokens[i]);
}

// Later tokens may have carried a word over to the next line, so layout starts again with a whole line.
void TokenFlow::drop_from(size_t token) {
    int32_t line = token > 0 ? line_of(static_cast<int64_t>(token) - 1) : -1;
    while (line > 0 && tokens_[pieces_[line_starts_[line]].token].first_piece != line_starts_[line]) --line;
    if (line <= 0) {
        tokens_.clear(), pieces_.clear(), line_starts_.assign(1, 0);
    } else {
        const size_t start = line_starts_[line];
        tokens_.resize(pieces_[start].token);
        pieces_.resize(start);
        line_starts_.resize(line + 1);
    }
    pen_ = 0;
    word_start_ = pieces_.size();
}

void TokenFlow::add(const TokenView& token) {
    if (line_starts_.empty()) line_starts_.push_back(0);
    const auto index = static_cast<int32_t>(tokens_.size());
    Known known{token.id, token.text, token.special ? chip_name(token.text) : drawable(token.text), token.special,
                pieces_.size()};
    tokens_.push_back(std::move(known));
    if (!token.special) return add_text(index);
    FlowPiece chip;
    chip.token = index, chip.kind = FlowPiece::Kind::chip, chip.last = static_cast<uint32_t>(shown(index).size());
    chip.width = text_width(shown(index), 0, chip.last) + 2 * chip_padding();
    if (pen_ > 0 && pen_ + chip.width > key_.width) break_line();
    put(chip);
    word_start_ = pieces_.size();
}

void TokenFlow::add_text(int32_t token) {
    const std::string& text = shown(token);
    uint32_t first = 0;
    const auto size = static_cast<uint32_t>(text.size());
    for (;;) {
        const auto found = text.find('\n', first);
        const uint32_t last = found == std::string::npos ? size : static_cast<uint32_t>(found);
        if (last > first || (size == 0 && first == 0)) put_segment(token, first, last);
        if (found == std::string::npos) return;
        FlowPiece end;
        end.token = token, end.kind = FlowPiece::Kind::line_end, end.first = last, end.last = last + 1;
        end.width = 0.8f * key_.font_size;
        put(end);
        break_line();
        first = last + 1;
        if (first >= size) return;
    }
}

void TokenFlow::put_segment(int32_t token, uint32_t first, uint32_t last) {
    const std::string& text = shown(token);
    const bool spaced = first < last && (text[first] == ' ' || text[first] == '\t');
    if (spaced) word_start_ = pieces_.size();
    FlowPiece piece;
    piece.token = token, piece.first = first, piece.last = last;
    piece.width = std::max(text_width(text, first, last), 2.0f);
    const bool fits = pen_ + piece.width <= key_.width;
    if (!fits && pen_ > 0 && (spaced || !carry_word_over() || pen_ + piece.width > key_.width)) break_line();
    // A line does not start with the space that separated it from the last one.
    if (spaced && pen_ == 0 && last - first > 1 && !pieces_.empty() && pieces_.back().token != token) {
        piece.first = first + 1;
        piece.width = std::max(text_width(text, piece.first, last), 2.0f);
    }
    if (piece.width > key_.width) return put_split(token, piece.first, last);
    put(piece);
    if (last > first && text[last - 1] == ' ') word_start_ = pieces_.size();
}

// Longer than a line: broken between characters.
void TokenFlow::put_split(int32_t token, uint32_t first, uint32_t last) {
    const std::string& text = shown(token);
    while (first < last) {
        const float room = std::max(key_.width - pen_, key_.font_size);
        const char* end = nullptr;
        ImGui::GetFont()->CalcTextSizeA(key_.font_size, room, 0, text.data() + first, text.data() + last, &end);
        auto cut = static_cast<uint32_t>(end - text.data());
        if (cut <= first) {
            unsigned int c = 0;
            cut = first +
                  static_cast<uint32_t>(std::max(1, ImTextCharFromUtf8(&c, text.data() + first, text.data() + last)));
        }
        FlowPiece piece;
        piece.token = token, piece.first = first, piece.last = std::min(cut, last);
        piece.width = text_width(text, first, piece.last);
        put(piece);
        first = piece.last;
        if (first < last) break_line();
    }
}

void TokenFlow::put(FlowPiece piece) {
    piece.line = lines() - 1;
    piece.x = pen_;
    pen_ += piece.width;
    pieces_.push_back(piece);
}

void TokenFlow::break_line() {
    line_starts_.push_back(pieces_.size());
    pen_ = 0;
    word_start_ = pieces_.size();
}

// Moves the pieces of the unfinished word to a new line; false when the word fills the line or is only starting.
bool TokenFlow::carry_word_over() {
    if (word_start_ >= pieces_.size() || word_start_ == line_starts_.back()) return false;
    line_starts_.push_back(word_start_);
    pen_ = 0;
    for (size_t i = word_start_; i < pieces_.size(); ++i) {
        FlowPiece& piece = pieces_[i];
        const std::string& text = shown(piece.token);
        if (pen_ == 0 && piece.last - piece.first > 1 && text[piece.first] == ' ') {
            ++piece.first;
            piece.width = text_width(text, piece.first, piece.last);
        }
        piece.line = lines() - 1;
        piece.x = pen_;
        pen_ += piece.width;
    }
    return true;
}

}  // namespace savepoint::views
