#include <ATen/ATen.h>

#include <map>
#include <set>

#include "core/sidecar/baseline_codecs.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

TEST_CASE("baselines: every kind at two rates or more, each under a name of its own, saved and loaded") {
    ModelConfig config = run_config();
    config.head_dim = 64;  // groups of 64 must fit
    config.d_model = 64;
    const auto random = [&](int64_t tokens) {
        RandomRun run;
        at::manual_seed(4);
        run.rows.hidden = at::randn({tokens, 3, 64});
        run.rows.key = at::randn({tokens, 3, 2, 64});
        run.rows.value = at::randn({tokens, 3, 2, 64});
        run.ids.assign(static_cast<size_t>(tokens), 1);
        return run;
    };
    const RandomRun text = random(90), shorter = random(40);
    for (const CodedPart part : {CodedPart::kv, CodedPart::hidden, CodedPart::full}) {
        const auto fit = make_baseline_fit(config, part);
        fit->add(text.run());
        auto codecs = quantized_baselines(config, part);
        for (const auto& codec : fit->finish()) codecs.push_back(codec);
        std::set<std::string> names;
        std::map<std::string, std::set<size_t>> rates;
        for (const auto& codec : codecs) {
            CHECK(codec->part() == part);
            CHECK(names.insert(codec->name()).second);
            const std::string bytes = codec->encode(shorter.run());
            rates[codec->kind()].insert(bytes.size());
            TensorFile file;
            nlohmann::json settings;
            codec->save(file, settings);
            CHECK(load_baseline(file, settings, "file")->encode(shorter.run()) == bytes);
        }
        CHECK(rates.size() == (part == CodedPart::kv ? 5 : 2));
        for (const auto& [kind, sizes] : rates) CHECK(sizes.size() >= 2);
    }
    CHECK(load_baseline({}, {{"kind", "another"}}, "file") == nullptr);
    CHECK_THROWS_AS(load_baseline({}, nlohmann::json::object(), "file"), FileError);
}

TEST_CASE("baselines: the model's, all that weights and text give") {
    const auto codecs = weight_baselines(*shared_weights());
    CHECK(codecs.size() >= 2);
    CHECK(weight_baselines(*shared_weights(), CodedPart::hidden).empty());
    const auto fit = make_baseline_fit(shared_model().config(), CodedPart::kv);
    const std::vector<TokenId> ids = first_ids(40);
    KvCache cache = shared_model().make_cache(40);
    const StateRows rows = shared_model().prefill(cache, ids).rows.slice(4, 36);
    const CodedRun run{rows, std::span(ids).subspan(4), 4};
    fit->add(run);
    for (const auto& codec : all_baselines(*shared_weights(), *fit)) {
        const std::string bytes = codec->encode(run);
        const StateRows back = codec->decode(bytes, run.tokens, 4);
        CHECK(back.key.sizes() == rows.key.sizes());
        CHECK(((back.key - rows.key).square().sum() / rows.key.square().sum()).item<double>() < 0.5);
        CHECK(((back.value - rows.value).square().sum() / rows.value.square().sum()).item<double>() < 1);
    }
}
