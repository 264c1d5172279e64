#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/analysis/experiment_run.h"

namespace savepoint {

// Runs of texts that several experiments of one model look at, so that the model runs once on each: by their token ids.
// A run of a text holds those of its beginnings, where they were made (run_beginnings).
class RunBook {
   public:
    explicit RunBook(bool rotary) : rotary_(rotary) {}  // as its experiments' settings say
    bool rotary() const { return rotary_; }

    // Null where it was not run (or, of a beginning, where another text that begins so comes first). With `by_token`
    // only a run that has its tokens one by one is good enough. Valid until the next add() or forget().
    const TextRun* find(const std::vector<TokenId>& ids, bool by_token);
    // Of all the text, the last, and of its beginnings.
    void add(const std::vector<TokenId>& ids, std::vector<TextRun> runs);
    // Before each experiment: drops what the last two did not ask for.
    void forget();
    int64_t texts() const { return static_cast<int64_t>(entries_.size()); }

   private:
    struct Entry {
        std::vector<TextRun> runs;
        int64_t used = 0;
    };
    bool rotary_;
    int64_t now_ = 0;
    std::map<std::vector<TokenId>, Entry> entries_;
};

}  // namespace savepoint
