// What was injected into plain text, followed token by token; and several experiments that share their runs.

#include "tests/core/gemma_fixture.h"
#include "tests/core/model_fixture.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment_report.h"
#include "core/analysis/experiment_series.h"
#include "core/analysis/framing.h"
#include "core/analysis/injection_curves.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

ExperimentSettings small(const std::string& name) {
    ExperimentSettings settings = brief_experiment(name);
    settings.layers = {LayerChoice::middle};
    settings.detectors = {DetectorKind::mahalanobis, DetectorKind::relative_mahalanobis};
    settings.most = 40;
    settings.background = 12;
    settings.bootstrap = 20;
    return settings;
}

ExperimentResult run_alone(const ExperimentSettings& settings) {
    Experiment experiment(shared_model(), shared_tokenizer(), settings);
    while (!experiment.done()) experiment.step();
    return experiment.result();
}

}  // namespace

TEST_CASE("conversations without a chat template are lines of plain text, up to what is being said") {
    CHECK(plain_framing({{"user", "Why?"}}) == "Question: Why?\nAnswer:");
    CHECK(plain_framing({{"system", "Be brief."}, {"user", "Why?"}, {"assistant", "Because"}}) ==
          "Instruction: Be brief.\nQuestion: Why?\nAnswer: Because");
    CHECK(plain_framing({{"user", "A"}, {"assistant", "B"}, {"user", "C"}}) ==
          "Question: A\nAnswer: B\nQuestion: C\nAnswer:");
    CHECK_THROWS_AS(plain_framing({{"tool", "x"}}), InputError);
}

TEST_CASE("conversations with a chat template end where the model answers, or within its answer") {
    const Tokenizer& tokenizer = shared_tokenizer();
    CHECK(framing_of(tokenizer) == "chat template");
    const std::vector<TokenId> open = framed(tokenizer, {{"user", "Why?"}});
    const std::vector<TokenId> said = framed(tokenizer, {{"user", "Why?"}, {"assistant", "Because so"}});
    REQUIRE(said.size() > open.size());
    CHECK(std::equal(open.begin(), open.end(), said.begin()));
    CHECK(tokenizer.decode({said.data() + open.size(), said.size() - open.size()}) == "Because so");
    CHECK(tokenizer.decode(open).ends_with("assistant\n"));
}

TEST_CASE("injected mid-text: the twin differs by the injected tokens alone, and shorter texts are beginnings") {
    const Tokenizer& tokenizer = shared_tokenizer();
    std::set<std::vector<TokenId>> normal;
    for (const char* name : {"gibberish_2", "gibberish_8", "repetition_4"}) {
        CAPTURE(name);
        const auto mid = builtin_texts(std::string(name) + "_mid", tokenizer, 1),
                   end = builtin_texts(name, tokenizer, 1);
        REQUIRE(mid.size() == end.size());
        const auto at = static_cast<size_t>(mid.front().injected_at);
        const auto last = at + static_cast<size_t>(mid.front().injected);
        for (size_t i = 0; i < mid.size(); i += 2) {
            const std::vector<TokenId>&a = mid[i].ids, &b = mid[i + 1].ids;
            REQUIRE(a.size() == static_cast<size_t>(kPlainTokens));
            CHECK(b.size() == a.size());
            CHECK(last + 16 <= a.size());
            CHECK(std::equal(a.begin(), a.begin() + at, b.begin()));
            CHECK(!std::equal(a.begin() + at, a.begin() + last, b.begin() + at));
            CHECK(std::equal(a.begin() + last, a.end(), b.begin() + last));
            CHECK(end[i].ids == std::vector<TokenId>(a.begin(), a.begin() + last));
            CHECK(end[i + 1].ids == std::vector<TokenId>(b.begin(), b.begin() + last));
            normal.insert(a);
        }
    }
    CHECK(normal.size() == 120);  // the same for every number of tokens, and no text twice
    CHECK(injection_ends(32, 56) == std::vector<int64_t>{33, 34, 36, 40, 56});
    CHECK(injection_ends(32, 34) == std::vector<int64_t>{33, 34});
    const auto background = plain_texts(tokenizer, {kPlainTokens}, 64, 1, PlainUse::background);
    for (const std::vector<TokenId>& ids : background) CHECK_FALSE(normal.contains(ids));
}

TEST_CASE("a run of a text holds the runs of its beginnings") {
    AttentionCapture capture(shared_model(), false);
    const std::vector<TokenId> ids = first_ids(20), some = first_ids(12);
    const std::vector<TextRun> runs = run_beginnings(capture, {ids}, {12, 20}, 15).front();
    const TextRun alone = run_texts(capture, {some}).front();
    CHECK(largest_difference(runs[0].key, alone.key) < 1e-3);
    CHECK(largest_difference(runs[0].query, alone.query) < 1e-2);
    CHECK(largest_difference(runs[0].hidden, alone.hidden) < 1e-2);
    CHECK(largest_difference(runs[0].mean_hidden, alone.mean_hidden) < 1e-2);
    CHECK(runs[0].mean_log_probability == doctest::Approx(alone.mean_log_probability).epsilon(1e-4));
    CHECK(runs[0].tokens == 12);
    CHECK(runs[1].log_probability.size() == 19);
    CHECK(same_bits(runs[1].layer_hidden[19], runs[1].hidden[15]));
    CHECK(same_bits(runs[0].layer_query[11], runs[0].query[15]));
    CHECK_FALSE(alone.layer_hidden.defined());

    RunBook book(false);
    book.add(ids, runs);
    REQUIRE(book.find(some, true));
    CHECK(same_bits(book.find(some, true)->key, runs[0].key));
    CHECK(book.find(ids, false)->tokens == 20);
    CHECK_FALSE(book.find(first_ids(13), false));  // no end of that length
    std::vector<TokenId> other = some;
    ++other.back();
    CHECK_FALSE(book.find(other, false));
    book.add(other, {alone});
    CHECK(book.find(other, false));
    CHECK_FALSE(book.find(other, true));  // not token by token
    for (int i = 0; i < 3; ++i) {
        CHECK(book.texts() == 2);
        book.forget();
        book.find(some, true);
    }
    CHECK(book.texts() == 1);
}

TEST_CASE("a score curve: in units of normal texts, where it passes, how many texts are above") {
    std::vector<double> normal;
    for (int i = 1; i <= 20; ++i) normal.push_back(i);  // mean 10.5, 95th percentile 19
    const ScoreCurve curve =
        score_curve("x", {{{10.5, 10.5}, normal, normal}, {{10, 30}, normal, normal}, {{19, 0}, normal, normal}}, -1);
    CHECK(curve.mean[0] == doctest::Approx(0));
    CHECK(curve.mean[1] == doctest::Approx(9.5 / 8.5));
    CHECK(curve.mean[2] == doctest::Approx(-1 / 8.5));
    CHECK(curve.above == std::vector<double>{0, 0.5, 0});
    CHECK(curve.auroc[0] == doctest::Approx(0.5));
    CHECK(curve.auroc[1] == doctest::Approx((9.5 + 20) / 40));
    CHECK(curve.delay == 0);
    CHECK(score_curve("x", {{{10.5}, normal, normal}, {{12}, normal, normal}}, 0).delay == -1);
    // What passes before anything was injected is no answer to it.
    CHECK(score_curve("x", {{{30}, normal, normal}, {{12}, normal, normal}, {{30}, normal, normal}}, -1).delay == 1);
    CHECK_THROWS_AS(score_curve("x", {{{}, normal, normal}}, 0), InputError);
}

TEST_CASE("experiments in a row share their runs and find what each finds alone; the table has a row for each") {
    ExperimentSettings few = small("statements");
    few.most = 8;
    ExperimentSeries series(shared_model(), shared_tokenizer(), {small("gibberish_8_mid"), small("gibberish_8"), few});
    while (!series.done()) series.step();
    CHECK(series.progress() == 1);
    const auto& all = series.finished();
    REQUIRE(all.size() == 3);
    CHECK(all[2].refused.find("too few texts") != std::string::npos);
    CHECK(series.texts_run() <= 40 + 12 + 8);  // gibberish_8 ran the model on nothing
    CHECK(all[1].result.forward_seconds == 0);

    const ExperimentResult alone = run_alone(small("gibberish_8"));
    REQUIRE(alone.rows.size() == all[1].result.rows.size());
    for (size_t i = 0; i < alone.rows.size(); ++i) {
        CAPTURE(alone.rows[i].name());
        CHECK(alone.rows[i].auroc == doctest::Approx(all[1].result.rows[i].auroc).epsilon(0.03));
    }

    const InjectionCurves& injection = all[0].result.injection;
    CHECK(injection.first == -16);
    CHECK(injection.injected == 8);
    REQUIRE(injection.curves.size() == 3);
    for (const ScoreCurve& curve : injection.curves) {
        REQUIRE(curve.mean.size() == 16 + 24);
        for (size_t i = 0; i < 16; ++i) CHECK(curve.auroc[i] == doctest::Approx(0.5).epsilon(0.1));  // twins so far
    }
    const ScoreCurve& surprise = injection.curves[2];
    CHECK(surprise.delay == 0);
    CHECK(surprise.above[16] > 0.8);
    CHECK(surprise.auroc[23] > 0.8);
    CHECK(surprise.above.back() < 0.4);  // the text has gone on
    // Judged at its end the text without what follows is the curve's value there: the same detector on the same state.
    const int64_t row = default_row(all[1].result);
    REQUIRE(row >= 0);
    CHECK(injection.curves[0].auroc[23] ==
          doctest::Approx(all[1].result.rows[static_cast<size_t>(row)].auroc).epsilon(0.02));

    const std::string table = to_markdown(all);
    CHECK(table.find("| gibberish_8_mid | 20 |") != std::string::npos);
    CHECK(table.find("| statements | experiment: too few texts") != std::string::npos);
    CHECK(table.find("| gibberish_8_mid | ") != table.rfind("| gibberish_8_mid | "));  // how soon it rises
    const nlohmann::json summary = to_json(all);
    CHECK(summary["experiments"].size() == 3);
    CHECK(summary["experiments"][0]["injection"]["curves"][2]["delay"] == 0);
    const std::string csv = to_csv(injection);
    CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 3 * 40);
    ExperimentSettings rotated = small("gibberish_8");
    rotated.rotary = true;
    CHECK_THROWS_AS(ExperimentSeries(shared_model(), shared_tokenizer(), {small("gibberish_8"), rotated}), InputError);
}

TEST_CASE("gemma: every built-in experiment's texts can be given to a model without a chat template") {
    if (gemma_path().empty()) {
        MESSAGE("skipped: no Gemma model file; tests/run --gemma fetches it");
        return;
    }
    const Tokenizer tokenizer(gemma_path());
    CHECK(framing_of(tokenizer).starts_with("plain text"));
    for (const BuiltinExperiment& one : builtin_experiments()) {
        CAPTURE(one.name);
        const LabelledText text = builtin_texts(one.name, tokenizer, 1).front();
        if (text.turns.empty()) continue;
        const std::vector<TokenId> ids = framed(tokenizer, text.turns);
        CHECK(tokenizer.decode(ids).find("Question: ") != std::string::npos);
    }
    CHECK(ends_answer(tokenizer, tokenizer.encode("\n", false).back()));
    CHECK_FALSE(ends_answer(tokenizer, tokenizer.encode(" Paris", false).back()));
}
