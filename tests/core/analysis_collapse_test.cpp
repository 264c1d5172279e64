#include "core/analysis/collapse.h"
#include "core/state/safetensors.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

const CollapseMetric& metric(const CollapseReport& report, const std::string& name) {
    for (const CollapseMetric& one : report.metrics)
        if (one.name == name) return one;
    FAIL("no metric ", name);
    return report.metrics.front();
}

CollapseReport finished(CollapseRun& run) {
    while (run.step()) {
    }
    CHECK(run.progress() == 1);
    return run.report();
}

CollapseSettings settings_of(CollapseSubject subject) {
    CollapseSettings settings;
    settings.subject = subject;
    settings.prompts = 5;
    settings.prefix = 12;
    settings.continuation = 4;
    return settings;
}

// A sidecar of the model's own states that loses nothing, or nearly everything.
std::shared_ptr<const Sidecar> sidecar_of(int64_t components) {
    PcaSettings settings = full_rank(1);
    settings.hidden_components = settings.key_components = settings.value_components = components;
    PcaFit fit(shared_model().config(), settings);
    for (const auto& text : collapse_texts(shared_tokenizer(), {CollapseSubject::sidecar, 40, 32, 8, 77, {}})) {
        KvCache cache = shared_model().make_cache(32);
        fit.add(shared_model().prefill(cache, text).rows);
    }
    const PcaFit::Codecs codecs = fit.finish();
    SidecarInfo info;
    info.model_sha256 = shared_weights()->sha256();
    info.data_sha256 = std::string(64, 'b');
    info.exact_first_tokens = settings.exact_first_tokens;
    return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, info);
}

std::string soft_file(const TemporaryFolder& folder, const at::Tensor& prompts, const at::Tensor& targets) {
    TensorFile file;
    file.tensors["prompts"] = prompts;
    if (targets.defined()) file.tensors["target_ids"] = targets;
    write_safetensors(folder.file("soft.safetensors"), file);
    return folder.file("soft.safetensors");
}

}  // namespace

TEST_CASE("collapse: cosine, variance of components and effective rank as numpy has them") {
    std::ifstream in(SAVEPOINT_SOURCE_DIR "/tests/data/collapse.json");
    const nlohmann::json fixture = nlohmann::json::parse(in);
    for (const auto& one : fixture["cases"]) {
        INFO(one["name"].get<std::string>());
        std::vector<at::Tensor> rows;
        for (const auto& row : one["rows"]) rows.push_back(at::tensor(row.get<std::vector<double>>(), at::kDouble));
        const at::Tensor table = at::stack(rows);
        CHECK(mean_pairwise_cosine(table) == doctest::Approx(one["mean_cosine"].get<double>()).epsilon(1e-9));
        CHECK(effective_rank(table) == doctest::Approx(one["effective_rank"].get<double>()).epsilon(1e-6));
        const auto expected = one["pca_variance"].get<std::vector<double>>();
        const auto variance = pca_variance(table);
        REQUIRE(variance.size() == expected.size());
        for (size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(variance[i] - expected[i]) < 1e-9);
    }
    CHECK(diversity({{1, 2}, {1, 2}, {1, 3}, {2, 1}}) == 0.75);
    CHECK_THROWS_AS(effective_rank(at::ones({1, 4})), InputError);
}

TEST_CASE("collapse: a sidecar that loses nothing is healthy where the model is; one that loses nearly all is not") {
    const auto texts = collapse_texts(shared_tokenizer(), settings_of(CollapseSubject::sidecar));
    REQUIRE(texts.size() == 5);
    CollapseRun good(shared_model(), texts, sidecar_of(0), settings_of(CollapseSubject::sidecar));
    const CollapseReport report = finished(good);
    CHECK(report.metrics.size() == 8);
    for (const char* name : {"mean_cosine", "pca_first", "effective_rank", "first_token_entropy", "magnitude_ratio"})
        CHECK(metric(report, name).value == doctest::Approx(metric(report, name).reference).epsilon(0.02));
    CHECK(report.outputs == report.expected);
    CHECK(metric(report, "first_token_accuracy").value == 1);
    CHECK(metric(report, "exposure_gap").value == doctest::Approx(0));
    CHECK(metric(report, "diversity").healthy());

    CollapseRun bad(shared_model(), texts, sidecar_of(1), settings_of(CollapseSubject::sidecar));
    const CollapseReport poor = finished(bad);
    CHECK(metric(poor, "mean_cosine").value > metric(report, "mean_cosine").value + 0.005);
    CHECK_FALSE(metric(poor, "mean_cosine").healthy());
    CHECK(metric(poor, "first_token_accuracy").value < 1);

    CollapseRun codes(shared_model(), texts, sidecar_of(0), settings_of(CollapseSubject::latents));
    const CollapseReport latents = finished(codes);
    CHECK(latents.outputs == report.outputs);
    CHECK(metric(latents, "magnitude_ratio").value > 0.2);
    CHECK_THROWS_AS(CollapseRun(shared_model(), texts, nullptr, settings_of(CollapseSubject::latents)), InputError);
}

TEST_CASE("collapse: soft prompts of real embeddings do as the text does; repeated ones have collapsed") {
    const TemporaryFolder folder("soft");
    CollapseSettings settings = settings_of(CollapseSubject::soft_prompts);
    std::vector<at::Tensor> prompts, targets;
    std::vector<std::vector<int32_t>> expected;
    for (const auto& text : collapse_texts(shared_tokenizer(), settings)) {
        prompts.push_back(shared_model().embed(text));
        KvCache cache = shared_model().make_cache(32);
        at::Tensor logits = shared_model().prefill(cache, text).logits[0];
        std::vector<int32_t> made;
        for (int i = 0; i < 4; ++i) {
            made.push_back(logits.argmax().item<TokenId>());
            logits = shared_model().decode(cache, made.back()).logits[0];
        }
        expected.push_back(made);
        targets.push_back(at::tensor(made, at::kInt));
    }
    settings.file = soft_file(folder, at::stack(prompts), at::stack(targets));
    CollapseRun right(shared_model(), {}, nullptr, settings);
    const CollapseReport report = finished(right);
    CHECK(report.outputs == expected);
    CHECK(metric(report, "first_token_accuracy").value == 1);
    CHECK(metric(report, "exposure_gap").value == doctest::Approx(0));
    CHECK(metric(report, "magnitude_ratio").value == doctest::Approx(1).epsilon(0.3));
    CHECK(metric(report, "magnitude_ratio").healthy());

    settings.file = soft_file(folder, 120 * prompts[0].unsqueeze(0).repeat({4, 1, 1}), {});
    CollapseRun same(shared_model(), {}, nullptr, settings);
    const CollapseReport collapsed = finished(same);
    CHECK(metric(collapsed, "diversity").value == 0.25);
    CHECK(metric(collapsed, "mean_cosine").value == doctest::Approx(1));
    for (const char* name : {"diversity", "mean_cosine", "magnitude_ratio"})
        CHECK_FALSE(metric(collapsed, name).healthy());
    CHECK_FALSE(metric(collapsed, "first_token_accuracy").judged());

    settings.file = soft_file(folder, at::zeros({3, 4, 9}), {});
    CHECK_THROWS_AS(CollapseRun(shared_model(), {}, nullptr, settings), FileError);
    CHECK_THROWS_AS(collapse_subject_from("nothing"), InputError);
}
