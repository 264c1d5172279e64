#include "core/analysis/alignment.h"

#include <ATen/ATen.h>

#include <random>

// libtorch's logging has a CHECK of its own, which ends the process: doctest's must be the later one.
#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

using Ids = std::vector<TokenId>;

// By trying every subsequence of `a`.
size_t longest_by_trial(const Ids& a, const Ids& b) {
    size_t best = 0;
    for (uint32_t chosen = 0; chosen < (1u << a.size()); ++chosen) {
        size_t at = 0, count = 0;
        bool fits = true;
        for (size_t i = 0; i < a.size() && fits; ++i) {
            if (!(chosen >> i & 1)) continue;
            while (at < b.size() && b[at] != a[i]) ++at;
            fits = at++ < b.size();
            ++count;
        }
        if (fits) best = std::max(best, count);
    }
    return best;
}

size_t matches(const Alignment& alignment) {
    return static_cast<size_t>(
        std::count_if(alignment.pairs.begin(), alignment.pairs.end(), [](const AlignedPair& p) { return p.same; }));
}

}  // namespace

TEST_CASE("alignment: by position up to the first difference, then what both have in common") {
    const Alignment found = align(Ids{1, 2, 3, 9, 4, 5, 6}, Ids{1, 2, 3, 4, 7, 6});
    CHECK(found.shared == 3);
    const std::vector<AlignedPair> expected{{0, 0, true}, {1, 1, true},  {2, 2, true},
                                            {4, 3, true}, {5, 4, false}, {6, 5, true}};
    CHECK((found.pairs == expected));
}

TEST_CASE("alignment: a replaced word is compared with what replaced it, an ending that differs is not") {
    const std::vector<AlignedPair> expected{{0, 0, true}, {1, 1, false}, {2, 2, false}, {3, 3, true}};
    CHECK((align(Ids{1, 20, 21, 4, 30}, Ids{1, 50, 51, 4, 31}).pairs == expected));
    CHECK(align(Ids{7, 8}, Ids{9, 10}).pairs.empty());
    CHECK(align(Ids{}, Ids{1}).pairs.empty());
    CHECK(align(Ids{5, 6}, Ids{5, 6}).shared == 2);
}

TEST_CASE("alignment: as long as the longest common subsequence after the shared beginning, ascending in both") {
    std::mt19937 random(3);
    for (int round = 0; round < 300; ++round) {
        Ids a(random() % 11), b(random() % 11);
        for (auto* ids : {&a, &b})
            for (TokenId& id : *ids) id = static_cast<TokenId>(random() % 4);
        const Alignment found = align(a, b);
        const auto shared = static_cast<ptrdiff_t>(found.shared);
        const Ids rest_a(a.begin() + shared, a.end()), rest_b(b.begin() + shared, b.end());
        CHECK(matches(found) == found.shared + longest_by_trial(rest_a, rest_b));
        for (size_t i = 0; i < found.pairs.size(); ++i) {
            const AlignedPair& pair = found.pairs[i];
            CHECK((a[static_cast<size_t>(pair.a)] == b[static_cast<size_t>(pair.b)]) == pair.same);
            if (i > 0) CHECK((found.pairs[i - 1].a < pair.a && found.pairs[i - 1].b < pair.b));
        }
    }
}
