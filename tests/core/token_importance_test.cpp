#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>

#include "core/model/error.h"
#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/transform_decomposition.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4, kPrefix = 96, kLength = 128;

const TokenSplit& split() {
    static const TokenSplit all =
        split_corpus(fortunes_corpus(), shared_tokenizer(), kLength, 16 * kLength, 4 * kLength, 3);
    return all;
}

StateRows rows_of(const std::vector<TokenId>& ids) {
    ForwardOptions kept;
    kept.logits = Logits::none;
    return shared_model().forward_batch({ids}, kept).rows;
}

std::span<const TokenId> prefix_of(const std::vector<TokenId>& ids) {
    return std::span(ids).first(static_cast<size_t>(kPrefix));
}

TransformFit& weighed() {
    static TransformFit fit = [] {
        TransformSettings settings;
        settings.part = CodedPart::kv;
        settings.group_size = 1;
        settings.max_components = 128;
        settings.sample_tokens = 2 * kLength;
        SensitivityFit gradients(shared_model(), 5);
        gradients.add({split().fit[0], split().fit[1], split().fit[3]}, kPrefix, kFirst);
        TransformFit made(shared_weights(), settings, gradients.finish());
        for (size_t i = 0; i < split().fit.size(); ++i) {
            std::vector<TokenId> ids = split().fit[i];
            if (TransformFit::samples(static_cast<int64_t>(i))) ids.resize(kPrefix);  // ends as runs that are saved do
            made.add(coded_run(shared_model(), rows_of(ids), ids, kFirst));
        }
        return made;
    }();
    return fit;
}

// The same groups without and with importance, and what was fitted.
struct Pair {
    std::shared_ptr<const TransformCodec> plain, importance;
};
const Pair& codecs() {
    static const Pair pair = [] {
        Pair made;
        TransformFit& fit = weighed();
        for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
        made.plain = fit.codec(20);
        TokenImportanceFit importance(shared_model(), 1);
        for (size_t i = 0; i < 9; i += 3)
            importance.add(*made.plain, {split().fit[i], split().fit[i + 1], split().fit[i + 2]}, kPrefix, kFirst);
        fit.set_importance(importance.finish());
        made.importance = fit.codec(20);
        return made;
    }();
    return pair;
}

CodecFigures judged(std::shared_ptr<const RunCodec> codec) {
    CodecEvaluation evaluation(shared_model(), split().held_out, {kPrefix, kLength - kPrefix, kFirst, 2});
    evaluation.prepare();
    CodecTrial trial(evaluation, std::move(codec));
    while (!trial.done()) trial.step();
    return trial.figures();
}

}  // namespace

TEST_CASE("the attention that a run's rows receive is that of the model's own last tokens") {
    const auto ids = split().held_out[0];
    const auto tokens = prefix_of(ids);
    KvCache cache = shared_model().make_cache(kPrefix);
    std::vector<at::Tensor> layers(30);
    Hooks hooks;
    for (int64_t layer = 0; layer < 30; ++layer)
        hooks.read("blocks." + std::to_string(layer) + ".attn.hook_pattern",
                   [&layers, layer](const at::Tensor& a) { layers[static_cast<size_t>(layer)] = a.clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    options.queries = true;
    const ForwardOutput output = shared_model().prefill(cache, tokens, options);
    const StateRows rows = output.rows;
    const CodedRun run = coded_run(shared_model(), rows, tokens, kFirst);
    REQUIRE(run.attention.sizes() == at::IntArrayRef({kPrefix - kFirst, 30}));
    CHECK(run.first_position == kFirst);
    for (const int64_t layer : {0, 13, 29}) {
        const at::Tensor pattern = layers[static_cast<size_t>(layer)].view({9, kPrefix, kPrefix});
        const at::Tensor received = pattern.slice(1, kPrefix - 32).mean(at::IntArrayRef({0, 1})).slice(0, kFirst);
        CHECK(at::allclose(run.attention.select(1, layer), received, 1e-3, 1e-6));
    }
    // The newest tokens alone, from the cache and the queries that the pass made.
    const int64_t newest = 40, from = kPrefix - newest;
    const CodedRun live =
        coded_run(shared_model(), cache, rows.slice(from, newest), std::span(tokens).subspan(from), output.query);
    CHECK(live.first_position == from);
    CHECK(at::allclose(live.attention, run.attention.slice(0, from - kFirst), 1e-3, 1e-6));
    CHECK_THROWS_AS(coded_run(shared_model(), cache, rows.slice(from, newest), std::span(tokens).subspan(from),
                              output.query.slice(0, kPrefix - 31)),
                    InputError);
    StateRows without = rows;
    without.hidden = at::Tensor();
    CHECK_FALSE(coded_run(shared_model(), without, tokens, kFirst).attention.defined());
}

TEST_CASE("what gradients measure on held-out text is foretold without one") {
    const TransformCodec& codec = *codecs().importance;
    const std::vector<std::vector<TokenId>> text{split().held_out[0], split().held_out[1]};
    const SampledGradient sampled = sampled_gradient(shared_model(), text, kPrefix, 77);
    double correlation = 0;
    for (size_t i = 0; i < 2; ++i) {
        const auto row = static_cast<int64_t>(i);
        const CodedRun run =
            coded_run(shared_model(), sampled.rows.slice(row * kPrefix, kPrefix), prefix_of(text[i]), kFirst);
        const at::Tensor foretold = codec.importance()->coarser(run).to(at::kFloat);
        REQUIRE(foretold.sizes() == at::IntArrayRef({kPrefix - kFirst, 30}));
        for (const int64_t g : {5, 15, 25}) {
            const auto& group = codec.groups()[static_cast<size_t>(g)];
            const at::Tensor measured =
                at::matmul(sampled.gradient[row].slice(0, kFirst).slice(1, g, g + 1).flatten(1), group.decode.t())
                    .square()
                    .sum(1)
                    .log();
            correlation -= at::corrcoef(at::stack({foretold.select(1, g), measured}))[0][1].item<double>() / 6;
        }
    }
    CHECK(correlation > 0.6);
    // Nothing is known of a run that does not say what attention it receives.
    const CodedRun unknown{sampled.rows.slice(kFirst, kPrefix - kFirst), prefix_of(text[0]).subspan(kFirst), kFirst};
    CHECK(codec.importance()->coarser(unknown).abs().max().item<int>() == 0);
}

TEST_CASE("coding leaves out coefficients that no step can see, and codes the others as they are") {
    const TransformCodec& codec = *codecs().importance;
    std::vector<TokenId> ids = split().held_out[1];
    ids.resize(kPrefix);
    const CodedRun run = coded_run(shared_model(), rows_of(ids), ids, kFirst);
    const TransformCodec::Latent all = codec.quantise(run);
    REQUIRE(all.coarser.max().item<int32_t>() > all.coarser.min().item<int32_t>());
    const std::vector<std::string> parts = split_parts(codec.encode(run), codec.groups().size() + 1);
    bool unseen = false;
    for (size_t g = 0; g < codec.groups().size(); ++g) {
        const CoefficientCoder& coder = codec.groups()[g].coder;
        const at::Tensor coded = coder.decode(parts[g], run.rows.tokens(), all.coarser_of(g));
        // Sums are in another order: what stands on a boundary may fall to either side.
        CHECK(coded.ne(all.rounded[g]).sum().item<int64_t>() <= coded.numel() / 5000);
        unseen = unseen || (coder.seen(all.coarser_of(g)) < coder.columns()).any().item<bool>();
    }
    CHECK(unseen);
}

TEST_CASE("steps by importance lose a sixth less or better at fewer bytes than one step for all") {
    const CodecFigures plain = judged(codecs().plain), importance = judged(codecs().importance);
    CHECK(importance.bytes_per_token < plain.bytes_per_token);
    CHECK(importance.kl_nats < 0.85 * plain.kl_nats);
}

TEST_CASE("importance goes through the bytes and through the file") {
    const auto& codec = codecs().importance;
    const auto ids = split().held_out[1];
    const CodedRun run = coded_run(shared_model(), rows_of(ids), ids, kFirst);
    const at::Tensor coarser = codec->importance()->coarser(run);
    CHECK(coarser.min().item<int>() < 0);
    CHECK(coarser.max().item<int>() > 0);
    const std::string bytes = codec->importance()->encode(coarser);
    CHECK(at::equal(codec->importance()->decode(bytes, coarser.size(0)), coarser));
    CHECK(bytes.size() < static_cast<size_t>(coarser.numel() / 2));  // under four bits each
    CHECK_THROWS_AS(codec->importance()->decode(bytes.substr(0, bytes.size() / 2), coarser.size(0)), InputError);

    const auto folder = std::filesystem::temp_directory_path() / "savepoint-importance-test";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "codec.safetensors").string();
    CodecInfo info;
    info.model_sha256 = shared_weights()->sha256();
    save_codec(path, *codec, info);
    const auto loaded = load_codec(path, shared_weights()).codec;
    CHECK(loaded->encode(run) == codec->encode(run));
    CHECK(at::equal(loaded->decode(codec->encode(run), run.tokens, kFirst).key,
                    codec->decode(codec->encode(run), run.tokens, kFirst).key));
}
