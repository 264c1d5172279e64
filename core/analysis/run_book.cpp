#include "core/analysis/run_book.h"

#include <algorithm>

namespace savepoint {

const TextRun* RunBook::find(const std::vector<TokenId>& ids, bool by_token) {
    const auto at = entries_.lower_bound(ids);  // the first text that is it or that it may begin
    if (at == entries_.end() || at->first.size() < ids.size() || !std::equal(ids.begin(), ids.end(), at->first.begin()))
        return nullptr;
    for (const TextRun& run : at->second.runs) {
        if (run.tokens != static_cast<int64_t>(ids.size()) || (by_token && !run.layer_hidden.defined())) continue;
        at->second.used = now_;
        return &run;
    }
    return nullptr;
}

void RunBook::add(const std::vector<TokenId>& ids, std::vector<TextRun> runs) {
    entries_[ids] = {std::move(runs), now_};
}

void RunBook::forget() {
    ++now_;
    std::erase_if(entries_, [this](const auto& entry) { return entry.second.used + 2 < now_; });
}

}  // namespace savepoint
