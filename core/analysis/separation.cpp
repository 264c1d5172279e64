#include "core/analysis/separation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/model/error.h"

namespace savepoint {

namespace {

void check(const std::vector<double>& score, const std::vector<int>& label) {
    if (score.size() != label.size()) throw InputError("separation: scores and labels differ in number");
    const auto positives = std::count(label.begin(), label.end(), 1);
    if (positives == 0 || positives == static_cast<std::ptrdiff_t>(label.size()))
        throw InputError("separation: rows of both classes are needed");
    if (!std::all_of(score.begin(), score.end(), [](double x) { return std::isfinite(x); }))
        throw InputError("separation: a score is not finite");
}

// Cumulative counts of normal and anomalous rows at or above each distinct score, from the highest down.
struct Step {
    double normal, anomalous;
};
std::vector<Step> steps_of(const std::vector<double>& score, const std::vector<int>& label) {
    check(score, label);
    std::vector<size_t> order(score.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score[a] > score[b]; });
    std::vector<Step> steps;
    Step sum{0, 0};
    for (size_t i = 0; i < order.size(); ++i) {
        (label[order[i]] == 1 ? sum.anomalous : sum.normal) += 1;
        if (i + 1 == order.size() || score[order[i + 1]] < score[order[i]]) steps.push_back(sum);
    }
    return steps;
}

double area(std::vector<double>& normal, const std::vector<double>& anomalous) {
    std::sort(normal.begin(), normal.end());
    double sum = 0;
    for (const double x : anomalous) {
        const auto [low, high] = std::equal_range(normal.begin(), normal.end(), x);
        sum += static_cast<double>(low - normal.begin()) + 0.5 * static_cast<double>(high - low);
    }
    return sum / (static_cast<double>(normal.size()) * static_cast<double>(anomalous.size()));
}

std::vector<double> drawn(const std::vector<double>& from, std::mt19937_64& draws) {
    std::vector<double> out(from.size());
    for (double& x : out)
        x = from[static_cast<size_t>(static_cast<double>(draws() >> 11) * 0x1p-53 * static_cast<double>(from.size()))];
    return out;
}

std::vector<double> of_class(const std::vector<double>& score, const std::vector<int>& label, int which) {
    std::vector<double> out;
    for (size_t i = 0; i < score.size(); ++i)
        if (label[i] == which) out.push_back(score[i]);
    return out;
}

}  // namespace

std::vector<RocPoint> roc_curve(const std::vector<double>& score, const std::vector<int>& label) {
    const std::vector<Step> steps = steps_of(score, label);
    std::vector<RocPoint> out{{0, 0}};
    for (const Step& step : steps)
        out.push_back({step.normal / steps.back().normal, step.anomalous / steps.back().anomalous});
    return out;
}

double auroc(const std::vector<double>& score, const std::vector<int>& label) {
    check(score, label);
    std::vector<double> normal = of_class(score, label, 0);
    return area(normal, of_class(score, label, 1));
}

double average_precision(const std::vector<double>& score, const std::vector<int>& label) {
    const std::vector<Step> steps = steps_of(score, label);
    double sum = 0, before = 0;
    for (const Step& step : steps) {
        const double recall = step.anomalous / steps.back().anomalous;
        sum += (recall - before) * step.anomalous / (step.anomalous + step.normal);
        before = recall;
    }
    return sum;
}

double false_rate_at(double true_rate, const std::vector<double>& score, const std::vector<int>& label) {
    for (const RocPoint& point : roc_curve(score, label))
        if (point.true_rate >= true_rate) return point.false_rate;
    return 1;
}

Interval auroc_interval(const std::vector<double>& score, const std::vector<int>& label, int draws, uint64_t seed,
                        double coverage) {
    check(score, label);
    const std::vector<double> normal = of_class(score, label, 0), anomalous = of_class(score, label, 1);
    std::mt19937_64 random(seed);
    std::vector<double> areas;
    for (int i = 0; i < draws; ++i) {
        std::vector<double> n = drawn(normal, random);
        areas.push_back(area(n, drawn(anomalous, random)));
    }
    if (areas.empty()) return {0, 1};
    std::sort(areas.begin(), areas.end());
    const auto at = [&](double q) {
        return areas[static_cast<size_t>(std::lround(q * static_cast<double>(areas.size() - 1)))];
    };
    return {at((1 - coverage) / 2), at((1 + coverage) / 2)};
}

}  // namespace savepoint
