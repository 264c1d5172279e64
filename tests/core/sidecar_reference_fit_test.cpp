// The joint fit of the sidecar and the anomaly references, small.

#include <chrono>

#include "core/analysis/reference_fit.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

FitSettings small_fit() {
    FitSettings settings;
    settings.form = SidecarForm::separate;
    settings.pca.group_size = 4;
    settings.pca.hidden_components = 16;
    settings.pca.key_components = settings.pca.value_components = 32;
    settings.sequence_length = 192;
    settings.fit_tokens = 192 * 4;
    settings.calibration_tokens = 192 * 2;
    settings.own_samples = 4;
    settings.own_sample_length = 64;
    return settings;
}

struct Run {
    ReferenceFit::Result result;
    std::vector<double> progress;
    std::vector<std::string> stages;
};

Run run(const FitSettings& settings) {
    Run out;
    ReferenceFit fit(shared_model(), shared_tokenizer(), settings);
    CHECK_THROWS_AS(fit.result(), InputError);
    while (!fit.done()) {
        out.progress.push_back(fit.progress());
        out.stages.push_back(fit.stage());
        fit.step();
    }
    CHECK(fit.progress() == 1);
    fit.step();  // does nothing
    out.result = fit.result();
    return out;
}

const Run& shared_run() {
    static const Run shared = run(small_fit());
    return shared;
}

}  // namespace

TEST_CASE("progress rises from 0 to 1 in many short steps that say what they do") {
    const Run& fit = shared_run();
    REQUIRE(fit.progress.size() > 60);
    CHECK(fit.progress.front() == 0);
    CHECK(fit.progress.back() < 1);
    CHECK(std::is_sorted(fit.progress.begin(), fit.progress.end()));
    CHECK(fit.stages.front() == "reading fortunes");
    const auto said = [&](const std::string& stage) { return std::count(fit.stages.begin(), fit.stages.end(), stage); };
    CHECK(said("forward pass 1 of 5") == 1);
    CHECK(said("decomposing group 8 of 8") == 1);
}

TEST_CASE("a fit says what it was made of and what it measured") {
    const SidecarInfo& info = shared_run().result.sidecar->info();
    CHECK(info.model_sha256 == shared_weights()->sha256());
    CHECK(info.data_sha256.size() == 64);
    // Four tokens of each sequence are left out.
    CHECK(info.fitted_tokens == 4 * (192 - 4) + 4 * (64 - 4));
    CHECK(info.settings["pca"]["key_components"] == 32);
    CHECK(info.settings["fit_tokens"] == 192 * 4);
    CHECK(info.settings["own_samples"] == 4);
    CHECK(info.figures["held_out_tokens"] == 192);  // every second pass is measured
    for (const char* field : {"hidden_fvu", "key_fvu", "value_fvu"}) {
        CAPTURE(field);
        CHECK(info.figures[field].get<double>() > 0);
        CHECK(info.figures[field].get<double>() < 1);
    }
    CHECK(info.figures["hidden_fvu_layers"].size() == 30);
    CHECK(info.figures["resumed_tokens"] == 2 * 64);
    CHECK(info.figures["kl_nats"].get<double>() > 0);
    CHECK(info.figures["top1_agreement"].get<double>() <= 1);
    CHECK(shared_run().result.identity->name() == "identity.read_out.mahalanobis");
    CHECK(shared_run().result.elu1->choice() == AnomalyChoice());
    CHECK(shared_run().result.elu1->fitted_tokens() > 0);
    CHECK(shared_run().result.elu1->calibration_tokens() == 3 * 192);  // the last of the fit's passes, too
}

TEST_CASE("a joint fit, which is the default, says the same of itself and is loaded as one") {
    CHECK(FitSettings().form == SidecarForm::joint);
    FitSettings settings = small_fit();
    settings.form = SidecarForm::joint;
    settings.joint.ratio = 20;
    settings.joint.max_components = 48;
    settings.joint.gradient_sequences = 2;
    const Run fit = run(settings);
    CHECK(std::is_sorted(fit.progress.begin(), fit.progress.end()));
    for (const char* stage : {"gradients of pass 1 of 1", "decomposing group 8 of 8", "finding the step of the rate"}) {
        CAPTURE(stage);
        CHECK(std::count(fit.stages.begin(), fit.stages.end(), stage) >= 1);
    }
    const Sidecar& sidecar = *fit.result.sidecar;
    CHECK(sidecar.joint() != nullptr);
    CHECK(sidecar.info().settings["joint"]["ratio"] == 20);
    CHECK(sidecar.info().settings["joint"]["gradient_sequences"] == 2);
    CHECK_FALSE(sidecar.info().settings.contains("pca"));
    CHECK(sidecar.info().fitted_tokens == 4 * (192 - 4) + 4 * (64 - 4));
    for (const char* field : {"hidden_fvu", "key_fvu", "value_fvu", "kl_nats"}) {
        CAPTURE(field);
        CHECK(sidecar.info().figures[field].get<double>() > 0);
        CHECK(sidecar.info().figures[field].get<double>() < 1);
    }
    TemporaryFolder folder("joint-fit");
    save_fit(folder.file("home"), fit.result);
    CHECK(load_fit(folder.file("home"), shared_weights()).sidecar->hash() == sidecar.hash());
}

TEST_CASE("the same settings fit the same sidecar, another seed another") {
    FitSettings settings = small_fit();
    settings.fit_tokens = 192 * 2;
    settings.calibration_tokens = 192;
    settings.own_samples = 0;
    const auto first = run(settings).result.sidecar, again = run(settings).result.sidecar;
    settings.seed = 2;
    const auto other = run(settings).result.sidecar;
    CHECK(first->hash() == again->hash());
    CHECK(first->info().data_sha256 != other->info().data_sha256);
    CHECK(first->hash() != other->hash());
}

TEST_CASE("a fit is saved and loaded as one") {
    TemporaryFolder folder("fit");
    const auto model = shared_weights();
    CHECK_FALSE(load_fit(folder.file("none"), model).sidecar);
    const std::string home = folder.file("home");
    const ReferenceFit::Result& fit = shared_run().result;
    save_fit(home, fit);
    const ReferenceFit::Result loaded = load_fit(home, model);
    CHECK(loaded.sidecar->hash() == fit.sidecar->hash());
    const auto& config = shared_model().config();
    at::manual_seed(3);
    const at::Tensor read_outs = at::randn({12, config.layers, config.heads, config.head_dim});
    CHECK(same_bits(loaded.elu1->score(read_outs, 0).distance, fit.elu1->score(read_outs, 0).distance));
    CHECK(same_bits(loaded.identity->score(read_outs, 0).percentile, fit.identity->score(read_outs, 0).percentile));

    ReferenceFit::Result foreign = fit;
    SidecarInfo info = fit.sidecar->info();
    info.model_sha256 = std::string(64, '0');
    foreign.sidecar =
        std::make_shared<Sidecar>(std::shared_ptr<const HiddenCodec>(fit.sidecar, &fit.sidecar->hidden()),
                                  std::shared_ptr<const KvCodec>(fit.sidecar, &fit.sidecar->kv()), std::move(info));
    save_fit(folder.file("foreign"), foreign);
    CHECK_THROWS_AS(load_fit(folder.file("foreign"), model), FileError);
    const std::string reference = home + "/reference.safetensors", good = read_file(reference);
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
    write_atomically(reference, bad);
    CHECK_THROWS_AS(load_fit(home, model), FileError);
    write_atomically(reference, good);
    default_small_sidecar()->save(home + "/sidecar.safetensors");
    CHECK_THROWS_AS(load_fit(home, model), FileError);
    std::filesystem::remove(home + "/sidecar.safetensors");
    CHECK_FALSE(load_fit(home, model).sidecar);
    CHECK_THROWS_AS(save_fit(home, {}), InputError);
}

TEST_CASE("settings and corpora that cannot be used are refused") {
    FitSettings settings = small_fit();
    settings.corpus = "/nowhere/at/all";
    ReferenceFit fit(shared_model(), shared_tokenizer(), settings);
    CHECK_THROWS_AS(fit.step(), FileError);
    settings.pca.bits = 1;
    CHECK_THROWS_AS(ReferenceFit(shared_model(), shared_tokenizer(), settings), InputError);
}
