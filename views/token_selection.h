#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/workbench/commands.h"

namespace savepoint::views {

// Tokens that were picked out together (by a lasso), to be marked in every panel that shows tokens. Each is named by
// the thought that owns it; rows of a file by thought 0 and their number.
class TokenSelection {
   public:
    const std::vector<TokenRef>& tokens() const { return tokens_; }  // by thought, then position; each once
    bool empty() const { return tokens_.empty(); }
    int64_t changes() const { return changes_; }  // counts them, for who keeps something drawn
    bool contains(ThoughtId thought, int64_t position) const {
        return std::binary_search(tokens_.begin(), tokens_.end(), TokenRef{thought, position}, before);
    }
    void set(std::vector<TokenRef> tokens) {
        std::sort(tokens.begin(), tokens.end(), before);
        tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
        if (tokens != tokens_) tokens_ = std::move(tokens), ++changes_;
    }
    void add(const std::vector<TokenRef>& tokens) {
        std::vector<TokenRef> all = tokens_;
        all.insert(all.end(), tokens.begin(), tokens.end());
        set(std::move(all));
    }
    void remove(const std::vector<TokenRef>& tokens) {
        TokenSelection gone;
        gone.set(tokens);
        std::vector<TokenRef> left;
        for (const TokenRef& token : tokens_)
            if (!gone.contains(token.thought, token.position)) left.push_back(token);
        set(std::move(left));
    }
    void clear() { set({}); }

   private:
    static bool before(const TokenRef& a, const TokenRef& b) {
        return a.thought != b.thought ? a.thought < b.thought : a.position < b.position;
    }
    std::vector<TokenRef> tokens_;
    int64_t changes_ = 0;
};

}  // namespace savepoint::views
