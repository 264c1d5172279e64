#include "core/analysis/experiment_judge.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include "core/analysis/detector.h"
#include "core/analysis/linear_probe.h"
#include "core/analysis/separation.h"
#include "core/model/error.h"
#include "core/model/parallel.h"

namespace savepoint {

namespace {

constexpr double kAlarm = 0.05;  // p-value

// Distances between rows stay as they are, in no more columns than there are rows.
at::Tensor turned(const at::Tensor& rows) {
    const int64_t n = rows.size(0);
    if (rows.size(1) <= n) return rows;
    const at::Tensor centred = rows - rows.mean(0);
    auto [values, vectors] = at::linalg_eigh(at::mm(centred, centred.t()), "L");
    return vectors * values.clamp_min(0).sqrt();
}

at::Tensor on_components(const at::Tensor& rows, const at::Tensor& reference, int64_t components) {
    const at::Tensor fitted = rows.index_select(0, reference), mean = fitted.mean(0), centred = fitted - mean;
    const bool wide = centred.size(1) > centred.size(0);
    auto [values, vectors] = at::linalg_eigh(wide ? at::mm(centred, centred.t()) : at::mm(centred.t(), centred), "L");
    const int64_t n = values.size(0), kept = std::min(components, wide ? n - 1 : n);
    at::Tensor axes = vectors.slice(1, n - kept, n).flip(1);
    if (wide) axes = at::mm(centred.t(), axes) / values.slice(0, n - kept, n).flip(0).clamp_min(1e-20).sqrt();
    return at::mm(rows - mean, axes);
}

bool turns_with_rows(DetectorKind kind) { return kind != DetectorKind::ecod && kind != DetectorKind::isolation_forest; }

std::vector<double> of_half(const std::vector<double>& score, const std::vector<int>& half, int which) {
    std::vector<double> out;
    for (size_t i = 0; i < score.size(); ++i)
        if (half[i] == which) out.push_back(score[i]);
    return out;
}

std::vector<int> of_half(const std::vector<int>& label, const std::vector<int>& half, int which) {
    std::vector<int> out;
    for (size_t i = 0; i < label.size(); ++i)
        if (half[i] == which) out.push_back(label[i]);
    return out;
}

}  // namespace

PointTable points_of(const at::Tensor& rows) {
    const at::Tensor plain = rows.to(at::kFloat).contiguous();
    const auto* values = plain.const_data_ptr<float>();
    return {plain.size(0), plain.size(1), {values, values + plain.numel()}};
}

at::Tensor ExperimentJudge::in_reference_units(const at::Tensor& features) const {
    std::vector<int64_t> fit;
    for (size_t i = 0; i < part.size(); ++i)
        if (is_reference(i)) fit.push_back(static_cast<int64_t>(i));
    const at::Tensor raw = features.to(at::kDouble), reference = raw.index_select(0, at::tensor(fit, at::kLong));
    const at::Tensor mean = reference.mean(0), spread = (reference - mean).square().mean(0).sqrt();
    const at::Tensor floor = spread.mean() * 1e-6 + 1e-30;
    const at::Tensor scaled = (raw - mean) / at::where(spread > floor, spread, at::ones_like(spread));
    return at::where(spread > floor, scaled, at::zeros_like(scaled));
}

// Rows by what they are for; `columns` as they are, `turned` in their own span.
struct ExperimentJudge::Tables {
    struct Set {
        PointTable fit, known_bad, background, calibration, test, train;
    };
    Set columns, span;
    std::vector<int> train_label;
};

void ExperimentJudge::prepare(ExperimentResult& result, const ExperimentSettings& settings) {
    bootstrap_ = settings.bootstrap;
    seed_ = settings.seed;
    std::map<std::string, int> half_of;  // groups whole, so that no half knows a twin of the other's
    int64_t bad = 0;
    for (size_t i = 0; i < part.size(); ++i) {
        if (part[i] == Part::test) test_label_.push_back(label[i]);
        if (part[i] != Part::test) ++result.trained;
        if (is_reference(i)) ++result.fitted;
        if (part[i] == Part::calibration && label[i] == 0) ++result.calibrated;
        if (part[i] == Part::fit && label[i] == 1) ++bad;
    }
    const auto anomalous = std::count(test_label_.begin(), test_label_.end(), 1);
    const auto normal = static_cast<std::ptrdiff_t>(test_label_.size()) - anomalous;
    if (result.fitted < 8 || result.calibrated < 1 || bad < 2 || anomalous < 4 || normal < 4)
        throw InputError("experiment: too few texts are left: " + std::to_string(result.fitted) + " normal and " +
                         std::to_string(bad) + " anomalous ones to fit, " + std::to_string(normal) + " and " +
                         std::to_string(anomalous) + " to test; give more texts, or \"length_matched\": false");
    for (size_t i = 0; i < result.texts.size(); ++i)
        if (!half_of.contains(result.texts[i].group)) {
            const int next = static_cast<int>(half_of.size() % 2);
            half_of[result.texts[i].group] = next;
        }
    for (const ExperimentText& text : result.texts) half_.push_back(half_of[text.group]);
    result.half = half_;
}

void ExperimentJudge::add(ExperimentResult& result, ExperimentRow row, std::vector<double> score) const {
    row.auroc = auroc(score, test_label_);
    const Interval interval = auroc_interval(score, test_label_, bootstrap_, seed_);
    row.low = interval.low;
    row.high = interval.high;
    row.auprc = average_precision(score, test_label_);
    row.false_rate_at_95 = false_rate_at(0.95, score, test_label_);
    try {
        row.auroc_choice = auroc(of_half(score, half_, 0), of_half(test_label_, half_, 0));
        row.auroc_judge = auroc(of_half(score, half_, 1), of_half(test_label_, half_, 1));
    } catch (const InputError&) {  // a half of one class alone
        row.auroc_choice = row.auroc_judge = std::numeric_limits<double>::quiet_NaN();
    }
    row.score = std::move(score);
    result.rows.push_back(std::move(row));
}

void ExperimentJudge::add_all(ExperimentResult& result, const ExperimentRow& row, const at::Tensor& features,
                              const ExperimentSettings& settings) const {
    std::vector<int64_t> fit, bad, other, calibration, test, train;
    Tables tables;
    for (size_t i = 0; i < part.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        if (part[i] == Part::test) test.push_back(at);
        if (part[i] != Part::test) train.push_back(at), tables.train_label.push_back(label[i]);
        if (is_reference(i)) fit.push_back(at);
        if (part[i] == Part::fit && label[i] == 1) bad.push_back(at);
        if (part[i] == Part::calibration && label[i] == 0) calibration.push_back(at);
    }
    for (int64_t i = 0; i < background; ++i) other.push_back(static_cast<int64_t>(part.size()) + i);
    const auto index = [](const std::vector<int64_t>& list) { return at::tensor(list, at::kLong); };
    const at::Tensor rows = in_reference_units(features);
    const auto sets = [&](const at::Tensor& x) {
        const auto some = [&](const std::vector<int64_t>& list) {
            return list.empty() ? PointTable{} : points_of(x.index_select(0, index(list)));
        };
        return Tables::Set{some(fit), some(bad), some(other), some(calibration), some(test), some(train)};
    };
    ExperimentRow one = row;
    one.features = rows.size(1);
    const at::Tensor span = turned(rows);
    tables.columns = sets(rows);
    tables.span = sets(span);
    add_detectors(result, one, tables, settings);
    if (settings.equal_features <= 0 || one.features <= settings.equal_features) return;
    const at::Tensor few = on_components(span, index(fit), settings.equal_features);
    one.equal = true;
    one.features = few.size(1);
    tables.columns = tables.span = sets(few);
    add_detectors(result, one, tables, settings);
}

void ExperimentJudge::add_detectors(ExperimentResult& result, const ExperimentRow& row, const Tables& tables,
                                    const ExperimentSettings& settings) const {
    struct Scored {
        std::vector<double> score;
        double alarms = 0, hits = 0, milliseconds = 0;
    };
    const size_t count = settings.detectors.size() + 1;
    std::vector<Scored> scored(count);
    parallel_tasks(static_cast<int64_t>(count), [&](int64_t i) {
        const auto start = std::chrono::steady_clock::now();
        Scored& out = scored[static_cast<size_t>(i)];
        if (i + 1 == static_cast<int64_t>(count)) {
            out.score =
                fit_linear_probe(tables.span.train, tables.train_label, settings.probe_c).decision(tables.span.test);
            out.alarms = out.hits = std::numeric_limits<double>::quiet_NaN();
        } else {
            DetectorSettings how;
            how.kind = settings.detectors[static_cast<size_t>(i)];
            how.seed = settings.seed;
            const Tables::Set& set = turns_with_rows(how.kind) ? tables.span : tables.columns;
            const auto detector = make_detector(how);
            detector->fit(set.fit, how.kind == DetectorKind::relative_mahalanobis ? set.background : set.known_bad);
            out.score = detector->score(set.test);
            detector->calibrate(set.calibration);
            std::array<double, 2> alarms{}, all{};
            for (size_t t = 0; t < out.score.size(); ++t) {
                const auto which = static_cast<size_t>(test_label_[t]);
                alarms[which] += detector->p_value(out.score[t]) <= kAlarm;
                all[which] += 1;
            }
            out.alarms = alarms[0] / all[0];
            out.hits = alarms[1] / all[1];
        }
        out.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    });
    for (size_t i = 0; i < count; ++i) {
        ExperimentRow one = row;
        one.detector = i + 1 == count ? "linear_probe" : to_string(settings.detectors[i]);
        one.false_alarms = scored[i].alarms;
        one.hits = scored[i].hits;
        one.milliseconds = scored[i].milliseconds;
        add(result, one, std::move(scored[i].score));
    }
}

std::string ExperimentRow::name() const {
    std::string out = source;
    for (const std::string* part : {&phi, &form, &layers, &detector})
        if (!part->empty()) out += " / " + *part;
    return equal ? out + " / " + std::to_string(features) + " components" : out;
}

int64_t ExperimentResult::best(const std::string& source, bool probe) const {
    int64_t found = -1;
    for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].source != source || (rows[i].detector == "linear_probe") != probe) continue;
        if (found < 0 || rows[i].auroc_choice > rows[static_cast<size_t>(found)].auroc_choice)
            found = static_cast<int64_t>(i);
    }
    return found;
}

int64_t ExperimentResult::find(const std::string& source, const std::string& phi, const std::string& form,
                               const std::string& layers, const std::string& detector, bool equal) const {
    for (size_t i = 0; i < rows.size(); ++i)
        if (rows[i].source == source && rows[i].phi == phi && rows[i].form == form && rows[i].layers == layers &&
            rows[i].detector == detector && rows[i].equal == equal)
            return static_cast<int64_t>(i);
    return -1;
}

}  // namespace savepoint
