// The experiment runner on the real model and texts of this project; the judge alone on features made by hand.

#include "tests/core/model_fixture.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment.h"
#include "core/analysis/experiment_judge.h"
#include "core/analysis/experiment_report.h"
#include "core/analysis/experiment_run.h"
#include "core/analysis/hedgehog_fit.h"
#include "core/analysis/learned_phi.h"
#include "core/analysis/phi_state.h"
#include "core/state/safetensors.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

// Normal rows are Gaussian; anomalous ones are shifted along one column by `shift`.
ExperimentResult judged(double shift, int64_t width, ExperimentSettings settings = {}) {
    at::manual_seed(5);
    ExperimentJudge judge;
    ExperimentResult result;
    at::Tensor rows = at::randn({240 + 30, width});
    for (int64_t i = 0; i < 240; ++i) {
        const bool anomalous = i % 2 == 1;
        if (anomalous) rows[i][0] += shift;
        judge.label.push_back(anomalous);
        judge.part.push_back(i < 100 ? Part::fit : i < 140 ? Part::calibration : Part::test);
        if (judge.part.back() == Part::test) result.texts.push_back({"t", std::to_string(i / 2), anomalous, 5});
    }
    judge.background = 30;
    settings.bootstrap = 60;
    judge.prepare(result, settings);
    ExperimentRow row;
    row.source = "state";
    judge.add_all(result, row, rows, settings);
    return result;
}

const ExperimentRow& row_of(const ExperimentResult& result, const std::string& detector, bool equal = false) {
    return result.rows[static_cast<size_t>(result.find("state", "", "", "", detector, equal))];
}

}  // namespace

TEST_CASE("judging: what is far is found by every detector, and noise by none") {
    const ExperimentResult far = judged(8, 6), none = judged(0, 6);
    CHECK(far.rows.size() == all_detectors().size() + 1);
    CHECK(far.fitted == 50);
    CHECK(far.calibrated == 20);
    CHECK(far.trained == 140);
    for (const ExperimentRow& row : far.rows) {
        CAPTURE(row.detector);
        // Blind along the kept axes; and its background is normal here, so that it has nothing to go by.
        if (row.detector == "pca_residual" || row.detector == "relative") continue;
        CHECK(row.auroc > 0.75);
    }
    for (const ExperimentRow& row : far.rows) {
        CHECK(row.low <= row.auroc);
        CHECK(row.high >= row.auroc);
        CHECK(row.score.size() == far.texts.size());
    }
    CHECK(row_of(far, "mahalanobis").hits > 0.9);
    for (const ExperimentRow& row : none.rows) {
        CAPTURE(row.detector);
        CHECK(row.auroc > 0.3);
        CHECK(row.auroc < 0.7);
    }
}

TEST_CASE("judging wide tables: turned into their own span, scores of detectors that know distances alone stay") {
    ExperimentSettings settings;
    settings.equal_features = 16;
    const ExperimentResult result = judged(20, 400, settings);
    CHECK(result.rows.size() == 2 * (all_detectors().size() + 1));
    CHECK(row_of(result, "mahalanobis").features == 400);
    CHECK(row_of(result, "mahalanobis", true).features == 16);
    CHECK(row_of(result, "mahalanobis").auroc > 0.8);
    CHECK(row_of(result, "linear_probe").auroc > 0.9);
    const int64_t best = result.best("state", false);
    for (const ExperimentRow& row : result.rows)
        if (row.detector != "linear_probe")
            CHECK(row.auroc_choice <= result.rows[static_cast<size_t>(best)].auroc_choice);
}

TEST_CASE("too few texts are refused with what is missing") {
    ExperimentJudge judge;
    ExperimentResult result;
    judge.part = {Part::fit, Part::test};
    judge.label = {0, 1};
    result.texts = {{"a", "g", true, 3}};
    CHECK_THROWS_AS(judge.prepare(result, {}), InputError);
}

TEST_CASE("what a text leaves: the state of the cache, its own log-probability, its last hidden state") {
    AttentionCapture capture(shared_model(), false);
    const std::vector<TokenId> ids = first_ids(20);
    const TextRun run = run_texts(capture, {ids}).front();
    KvCache cache = shared_model().make_cache(20);
    ForwardOptions options;
    options.logits = Logits::all;
    const ForwardOutput plain = shared_model().prefill(cache, ids, options);
    CHECK(largest_difference(run.key, plain.rows.key) < 1e-3);
    CHECK(largest_difference(run.value, plain.rows.value) < 1e-3);
    CHECK(largest_difference(run.hidden, plain.rows.hidden[19]) < 1e-2);
    CHECK(largest_difference(run.mean_hidden, plain.rows.hidden.mean(0)) < 1e-2);
    const at::Tensor query = shared_model().queries(plain.rows, ids);
    CHECK(largest_difference(run.query, query[19]) < 1e-2);
    CHECK(largest_difference(run.mean_query, query.mean(0)) < 1e-2);
    double sum = 0;
    for (int64_t i = 0; i < 19; ++i)
        sum += at::log_softmax(plain.logits[i], 0)[ids[static_cast<size_t>(i) + 1]].item<double>();
    CHECK(run.mean_log_probability == doctest::Approx(sum / 19).epsilon(1e-4));

    // The captured z is what softmax attention makes of the captured rotated queries and keys.
    AttentionCapture rotated(shared_model(), true);
    const AttentionRun one = rotated.run({ids}).front();
    const at::Tensor k = one.key.repeat_interleave(3, 2), v = one.value.repeat_interleave(3, 2);
    at::Tensor scores = at::einsum("tlhd,ilhd->lhti", {one.query, k}) / 8;
    scores = scores.masked_fill(at::ones({20, 20}, at::kBool).triu(1), -INFINITY).softmax(-1);
    CHECK(largest_difference(at::einsum("lhti,ilhd->tlhd", {scores, v}), one.z) < 1e-3);

    // Read-out tables are the run's read-out at its last token; matrix forms have 17 columns a layer and head.
    PhiSettings settings;
    const auto phi = std::make_shared<const Phi>(settings, 64);
    const std::vector<TextRun> runs{run, run_texts(capture, {first_ids(12)}).front(),
                                    run_texts(capture, {first_ids(17)}).front()};
    const FormTable table = form_table(runs, {true, true, true}, phi, StateForm::read_out, {3});
    CHECK(largest_difference(table.values[0], read_out(*phi, query, run.key, run.value).values[19].flatten(1)) < 1e-2);
    const FormTable matrix = form_table(runs, {true, true, true}, phi, StateForm::mean, {3});
    CHECK(matrix.values.sizes() == at::IntArrayRef({3, 30, 3 * 17}));
    CHECK(matrix.values.select(1, 4).abs().max().item<float>() == 0);
    // Three rows have two principal axes: distances between rows are kept, and nothing is left over.
    PhiState a, b;
    a.phi = b.phi = phi;
    a.add(run.key.slice(1, 3, 4), run.value.slice(1, 3, 4));
    b.add(runs[1].key.slice(1, 3, 4), runs[1].value.slice(1, 3, 4));
    const double apart = (a.s / 20 - b.s / 12)[0][0].norm().item<double>();
    const at::Tensor ours = matrix.values.select(1, 3).slice(1, 0, 17);
    CHECK((ours[0] - ours[1]).norm().item<double>() == doctest::Approx(apart).epsilon(1e-3));
}

TEST_CASE("a learned phi is saved beside the sidecar and comes back the same; another model's is refused") {
    const std::string folder = (std::filesystem::temp_directory_path() / "savepoint-learned-phi-test").string();
    PhiSettings settings;
    settings.rotary = true;
    HedgehogFit fit(shared_model().config(), settings);
    AttentionCapture capture(shared_model(), true);
    const AttentionRun run = capture.run({first_ids(24)}).front();
    const double first = fit.step(run);
    for (int i = 0; i < 3; ++i) fit.step(run);
    CHECK(fit.step(run) < first);
    const Phi phi = fit.finish();
    save_learned_phi(folder, phi, 3, "abc");
    const auto loaded = load_learned_phi(folder, true, "abc");
    REQUIRE(loaded);
    CHECK(same_bits(loaded->keys(run.key), phi.keys(run.key)));
    CHECK_FALSE(load_learned_phi(folder, false, "abc"));
    CHECK_THROWS_AS(load_learned_phi(folder, true, "def"), FileError);
    // One that learned from fewer texts does not take its place; one from as many does, and so does any for a damaged
    // one.
    const Phi other = Phi::hedgehog(settings, phi.query_maps() * 2, phi.key_maps() * 2);
    CHECK_FALSE(keep_learned_phi(folder, other, 2, "abc"));
    CHECK(same_bits(load_learned_phi(folder, true, "abc")->key_maps(), phi.key_maps()));
    CHECK(keep_learned_phi(folder, other, 3, "abc"));
    CHECK(same_bits(load_learned_phi(folder, true, "abc")->key_maps(), other.key_maps()));
    write_atomically(folder + "/hedgehog-rotary.safetensors", "damaged");
    CHECK(keep_learned_phi(folder, phi, 1, "abc"));
    CHECK(same_bits(load_learned_phi(folder, true, "abc")->key_maps(), phi.key_maps()));
    std::filesystem::remove_all(folder);
}

TEST_CASE("gibberish at the end of plain text is found by a probe of the state, and the report holds every choice") {
    ExperimentSettings settings;
    settings.name = settings.builtin = "gibberish_8";
    settings.phi = {PhiKind::elu1};
    settings.forms = {StateForm::read_out, StateForm::rows};
    settings.layers = {LayerChoice::middle};
    settings.detectors = {DetectorKind::mahalanobis, DetectorKind::knn};
    settings.most = 60;
    settings.bootstrap = 50;
    Experiment experiment(shared_model(), shared_tokenizer(), settings);
    while (!experiment.done()) experiment.step();
    CHECK(experiment.progress() == 1);
    const ExperimentResult& r = experiment.result();
    CHECK(r.rows.size() ==
          2 + 4 * 2 * 3);  // two baselines; two of activations and two forms; with and without components
    CHECK(r.texts.size() == 30);
    CHECK(r.left_out == 0);
    CHECK(r.rows[static_cast<size_t>(r.best("length", false))].auroc == 0.5);
    CHECK(r.rows[static_cast<size_t>(r.best("log_probability", false))].auroc > 0.95);
    CHECK(r.rows[static_cast<size_t>(r.best("activation", true))].auroc > 0.9);
    CHECK(r.rows[static_cast<size_t>(r.best("state", true))].auroc > 0.7);

    const nlohmann::json json = to_json(r, settings, true);
    CHECK(json["rows"].size() == r.rows.size());
    CHECK(json["summary"][0]["role"] == "default");
    const std::string csv = to_csv(r);
    CHECK(std::count(csv.begin(), csv.end(), '\n') == static_cast<std::ptrdiff_t>(r.rows.size() + 1));
    const std::string html = to_html(r, settings);
    const size_t data = html.find("id=\"data\">") + 10;
    const std::string inside = html.substr(data, html.find("</script>", data) - data);
    CHECK(nlohmann::json::parse(inside)["texts"].size() == 30);

    // The same settings give the same figures.
    Experiment again(shared_model(), shared_tokenizer(), settings);
    while (!again.done()) again.step();
    for (size_t i = 0; i < r.rows.size(); ++i) CHECK(again.result().rows[i].score == r.rows[i].score);
}

TEST_CASE("built-in texts: both kinds, groups, and what each experiment promises") {
    for (const BuiltinExperiment& one : builtin_experiments()) {
        CAPTURE(one.name);
        const std::vector<LabelledText> texts = builtin_texts(one.name, shared_tokenizer(), 1);
        const auto anomalous = std::count_if(texts.begin(), texts.end(), [](const auto& t) { return t.anomalous; });
        if (one.name != "hallucination") CHECK(anomalous * 2 == static_cast<std::ptrdiff_t>(texts.size()));
        CHECK(texts.size() >= 120);
    }
    CHECK(builtin_texts("statements", shared_tokenizer(), 1).size() >= 400);
    CHECK_THROWS_AS(builtin_texts("states", shared_tokenizer(), 1), InputError);
    // In system_prompt every answer is right as often as wrong: the answer alone tells nothing.
    std::map<std::string, int> balance;
    for (const LabelledText& text : builtin_texts("system_prompt", shared_tokenizer(), 1))
        balance[text.turns[2].content + text.turns[1].content] += text.anomalous ? 1 : -1;
    for (const auto& [answer, sum] : balance) CHECK(sum == 0);
    for (const LabelledText& text : builtin_texts("repetition_4", shared_tokenizer(), 1))
        if (text.anomalous) CHECK(text.ids[35] == text.ids[32]);
}
