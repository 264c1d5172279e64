#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/workbench/snapshot.h"

namespace savepoint::views {

// A run of one token's text on one line.
struct FlowPiece {
    enum class Kind : uint8_t { text, chip, line_end };
    int32_t token = 0;  // index in the path
    int32_t line = 0;
    float x = 0, width = 0;        // pixels from the left edge of the flow
    uint32_t first = 0, last = 0;  // bytes of shown(token)
    Kind kind = Kind::text;
};

// Lays the tokens of a path out as flowing text: words (which may be many tokens) stay together, newlines are
// honoured, special tokens become chips. Incremental: while tokens only stream in, an update costs the new ones.
class TokenFlow {
   public:
    // Call within a frame, with the font that the text is drawn in.
    void update(const PathView& path, float width);

    int32_t lines() const { return static_cast<int32_t>(line_starts_.size()); }
    const std::vector<FlowPiece>& pieces() const { return pieces_; }
    size_t first_piece(int32_t line) const;  // pieces().size() past the last line
    int32_t line_of(int64_t token) const;    // of its first piece; -1 when there is none
    const std::string& shown(int64_t token) const { return tokens_[token].shown; }
    static float chip_padding();

   private:
    struct Known {
        TokenId id = 0;
        std::string text, shown;
        bool special = false;
        size_t first_piece = 0;
    };
    struct Key {
        float width = 0, font_size = 0;
        int font_sources = 0;
        bool operator==(const Key&) const = default;
    };

    void drop_from(size_t token);
    void add(const TokenView& token);
    void add_text(int32_t token);
    void put_segment(int32_t token, uint32_t first, uint32_t last);
    void put_split(int32_t token, uint32_t first, uint32_t last);
    void put(FlowPiece piece);
    void break_line();
    bool carry_word_over();

    Key key_;
    std::vector<Known> tokens_;
    std::vector<FlowPiece> pieces_;
    std::vector<size_t> line_starts_;
    float pen_ = 0;
    size_t word_start_ = 0;  // first piece of the word that the pen is in
};

}  // namespace savepoint::views
