#include "core/analysis/experiment_texts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "core/sidecar/noise.h"

namespace savepoint {

namespace {

constexpr uint64_t kSplit = 0x5917, kChoice = 0xC401;

std::vector<std::string> shuffled(std::vector<std::string> names, uint64_t seed, uint64_t purpose) {
    for (size_t i = names.size(); i > 1; --i) std::swap(names[i - 1], names[mixed({seed, purpose, i}) % i]);
    return names;
}

}  // namespace

std::vector<bool> length_matched(const std::vector<LabelledText>& texts, const std::vector<int64_t>& length,
                                 double tolerance) {
    // All pairs that would do, the best first; each text is used once.
    std::vector<std::tuple<int64_t, bool, size_t, size_t>> pairs;
    for (size_t a = 0; a < texts.size(); ++a) {
        if (!texts[a].anomalous) continue;
        const auto most = std::max<int64_t>(1, std::llround(tolerance * static_cast<double>(length[a])));
        for (size_t n = 0; n < texts.size(); ++n) {
            const int64_t apart = std::abs(length[a] - length[n]);
            if (!texts[n].anomalous && apart <= most) pairs.push_back({apart, texts[a].group != texts[n].group, a, n});
        }
    }
    std::sort(pairs.begin(), pairs.end());
    std::vector<bool> kept(texts.size(), false);
    for (const auto& [apart, strange, a, n] : pairs)
        if (!kept[a] && !kept[n]) kept[a] = kept[n] = true;
    return kept;
}

std::vector<Part> split(const std::vector<LabelledText>& texts, const std::vector<bool>& kept, double train_fraction,
                        uint64_t seed) {
    std::map<std::string, std::array<int, 2>> counts;
    for (size_t i = 0; i < texts.size(); ++i)
        if (kept[i]) ++counts[texts[i].group][texts[i].anomalous];
    std::array<std::vector<std::string>, 3> kinds;
    for (const auto& [group, count] : counts) kinds[count[0] == 0 ? 1 : count[1] == 0 ? 0 : 2].push_back(group);
    std::map<std::string, Part> part;
    for (const auto& groups : kinds) {
        const std::vector<std::string> order = shuffled(groups, seed, kSplit);
        const auto train = static_cast<size_t>(std::lround(train_fraction * static_cast<double>(order.size())));
        for (size_t i = 0; i < order.size(); ++i)
            part[order[i]] = i >= train ? Part::test : i % 5 == 4 ? Part::calibration : Part::fit;
    }
    std::vector<Part> out;
    for (size_t i = 0; i < texts.size(); ++i) out.push_back(kept[i] ? part[texts[i].group] : Part::left_out);
    return out;
}

std::vector<LabelledText> chosen_groups(std::vector<LabelledText> texts, int64_t most, uint64_t seed) {
    if (static_cast<int64_t>(texts.size()) <= most) return texts;
    std::map<std::string, int64_t> count;
    for (const LabelledText& text : texts) ++count[text.group];
    std::vector<std::string> names;
    for (const auto& [group, n] : count) names.push_back(group);
    std::set<std::string> chosen;
    int64_t taken = 0;
    for (const std::string& group : shuffled(names, seed, kChoice)) {
        if (taken + count[group] > most) continue;
        taken += count[group];
        chosen.insert(group);
    }
    std::erase_if(texts, [&](const LabelledText& text) { return !chosen.contains(text.group); });
    return texts;
}

}  // namespace savepoint
