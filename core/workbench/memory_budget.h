#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

#include "core/state/thought_graph.h"

namespace savepoint {

struct Desk;

// Keeps the states of all thoughts within a number of bytes (DESIGN, rule 3): those that nothing on screen
// needs lose their hidden states, and if that is not enough their keys and values too, those least recently
// shown first. RowsTask brings them back when they are needed. Token ids, edits and scores always stay.
class MemoryBudget {
   public:
    explicit MemoryBudget(int64_t bytes);  // 0: no limit; -1: half of the memory this process may have
    int64_t bytes() const { return bytes_; }
    void set(int64_t bytes);  // throws InputError
    void shown(const ThoughtGraph& graph, ThoughtId thought);
    void forget() { shown_.clear(); }  // another graph
    // Adding up what is held takes time with many thoughts: it is looked at now and then, or `at_once`.
    void enforce(Desk& desk, bool at_once);

   private:
    std::vector<ThoughtId> cold(const Desk& desk) const;  // least recently shown first
    void drop(Desk& desk, int64_t held);
    void warn_once(Desk& desk, int64_t held);

    int64_t bytes_;
    int64_t clock_ = 0;
    std::map<ThoughtId, int64_t> shown_;  // when it was last on the shown path
    std::chrono::steady_clock::time_point next_look_{};
    bool warned_ = false;
};

}  // namespace savepoint
