#include "core/analysis/alignment.h"

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr size_t kLongest = 65535;

// lengths[i][j]: the longest common subsequence of a[i..] and b[j..]
class Lengths {
   public:
    Lengths(std::span<const TokenId> a, std::span<const TokenId> b)
        : columns_(b.size() + 1), values_((a.size() + 1) * columns_, 0) {
        for (size_t i = a.size(); i-- > 0;)
            for (size_t j = b.size(); j-- > 0;)
                values_[i * columns_ + j] =
                    a[i] == b[j] ? static_cast<uint16_t>(at(i + 1, j + 1) + 1) : std::max(at(i + 1, j), at(i, j + 1));
    }
    uint16_t at(size_t i, size_t j) const { return values_[i * columns_ + j]; }

   private:
    size_t columns_;
    std::vector<uint16_t> values_;
};

// The same number of tokens between two matches, on both sides: compared one by one.
void fill_gap(Alignment& alignment, const AlignedPair& next) {
    if (alignment.pairs.empty()) return;
    const AlignedPair last = alignment.pairs.back();
    if (next.a - last.a != next.b - last.b) return;
    for (int64_t i = 1; i < next.a - last.a; ++i) alignment.pairs.push_back({last.a + i, last.b + i, false});
}

}  // namespace

Alignment align(std::span<const TokenId> a, std::span<const TokenId> b) {
    if (a.size() > kLongest || b.size() > kLongest)
        throw InputError("runs: more than 65535 tokens cannot be aligned; take a shorter path");
    const size_t shorter = std::min(a.size(), b.size());
    size_t shared = 0, ending = 0;
    while (shared < shorter && a[shared] == b[shared]) ++shared;
    while (ending < shorter - shared && a[a.size() - 1 - ending] == b[b.size() - 1 - ending]) ++ending;

    Alignment alignment;
    alignment.shared = static_cast<int64_t>(shared);
    for (size_t i = 0; i < shared; ++i)
        alignment.pairs.push_back({static_cast<int64_t>(i), static_cast<int64_t>(i), true});
    const auto add = [&](size_t i, size_t j) {
        const AlignedPair next{static_cast<int64_t>(i), static_cast<int64_t>(j), true};
        fill_gap(alignment, next);
        alignment.pairs.push_back(next);
    };
    const auto middle_a = a.subspan(shared, a.size() - shared - ending);
    const auto middle_b = b.subspan(shared, b.size() - shared - ending);
    const Lengths lengths(middle_a, middle_b);
    for (size_t i = 0, j = 0; i < middle_a.size() && j < middle_b.size();) {
        if (middle_a[i] == middle_b[j])
            add(shared + i++, shared + j++);
        else if (lengths.at(i + 1, j) >= lengths.at(i, j + 1))
            ++i;
        else
            ++j;
    }
    for (size_t i = 0; i < ending; ++i) add(a.size() - ending + i, b.size() - ending + i);
    return alignment;
}

}  // namespace savepoint
