// What codecs and analyses make of Gemma's states: keys behind a norm, a sliding window, BOS.
#include "core/analysis/attention_mass.h"
#include "core/analysis/attention_patterns.h"
#include "core/sidecar/attention_output.h"
#include "core/sidecar/block_features.h"
#include "core/sidecar/codec_lowrank.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/rate_distortion.h"
#include "tests/core/gemma_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

double relative_error(const at::Tensor& exact, const at::Tensor& decoded) {
    return ((exact - decoded).square().sum() / (exact - exact.mean(0)).square().sum()).item<double>();
}

}  // namespace

TEST_CASE("gemma: a full state's features give hidden states, keys and values back") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const std::vector<TokenId> ids = gemma->long_ids(64);
    KvCache cache = gemma->model.make_cache(64);
    const StateRows rows = gemma->model.prefill(cache, ids).rows;
    const BlockFeatures features(gemma->weights, CodedPart::full);
    std::vector<at::Tensor> blocks;
    for (int64_t b = 0; b < features.blocks(); ++b) blocks.push_back(features.of(rows, b));
    const StateRows back = features.rows(blocks, ids);
    CHECK(relative_error(rows.hidden, back.hidden) < 1e-9);
    CHECK(relative_error(rows.key, back.key) < 1e-8);
    CHECK(relative_error(rows.value, back.value) < 1e-8);
}

TEST_CASE("gemma: a low rank of all dimensions keeps keys and values") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const std::vector<TokenId> ids = gemma->long_ids(40);
    KvCache cache = gemma->model.make_cache(40);
    const StateRows rows = gemma->model.prefill(cache, ids).rows;
    LowRankSettings all, half;
    all.max_rank = all.min_rank = 256;
    half.max_rank = half.min_rank = 128;
    const auto codecs = make_lowrank(*gemma->weights, {all, half});
    std::vector<double> errors;
    for (const auto& codec : codecs) {
        const StateRows back = codec->decode(codec->encode({rows, ids, 0}), ids, 0);
        errors.push_back(relative_error(rows.key, back.key) + relative_error(rows.value, back.value));
    }
    CHECK(errors[0] < 0.1);
    CHECK(errors[1] > errors[0]);
}

TEST_CASE("gemma: patterns and outputs of saved states are the model's own, within its windows") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(540);
    Hooks hooks;
    at::Tensor local, global, z;
    hooks.read("blocks.2.attn.hook_pattern", [&](const at::Tensor& a) { local = a[0].clone(); });
    hooks.read("blocks.11.attn.hook_pattern", [&](const at::Tensor& a) { global = a[0].clone(); });
    hooks.read("blocks.2.attn.hook_z", [&](const at::Tensor& a) { z = a[0].clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    KvCache cache = model.make_cache(540);
    const StateRows rows = model.prefill(cache, ids, options).rows;
    const at::Tensor pattern = attention_pattern(model, {ids, rows}, 539);
    CHECK(largest_difference(pattern[2], local.select(1, 539)) < 1e-4f);
    CHECK(largest_difference(pattern[11], global.select(1, 539)) < 1e-4f);
    CHECK(pattern[2].narrow(1, 0, 540 - 512).abs().max().item<float>() == 0);

    const at::Tensor mass = attention_mass(model, {ids, rows}).received();
    for (const auto& [layer, own] : {std::pair<int64_t, at::Tensor>{2, local}, {11, global}})
        CHECK(largest_difference(mass[layer], own.to(at::kDouble).tril(-1).sum(1).to(at::kFloat)) < 1e-2f);

    const at::Tensor query = model.rotate(model.queries(rows.slice(524, 16), std::span(ids).subspan(524)), 524);
    const at::Tensor made = attention_output(model.config(), query, model.rotate(rows.key, 0), rows.value);
    CHECK(largest_difference(made.select(1, 2), z.narrow(0, 524, 16)) < 1e-3f);
}

TEST_CASE("gemma: sequences to fit on begin with BOS and have the length asked for") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    Corpus corpus{"lines", {}};
    for (int i = 0; i < 40; ++i)
        corpus.documents.push_back("Line " + std::to_string(i) + " of a text that nobody would call long.");
    const TokenSplit split = split_corpus(corpus, gemma->tokenizer, 32, 128, 64, 1);
    CHECK(split.fit.size() == 4);
    CHECK(split.held_out.size() == 2);
    for (const auto& sequence : split.fit) {
        CHECK(sequence.size() == 32);
        CHECK(sequence[0] == gemma->tokenizer.start()[0]);
        CHECK(sequence[1] != sequence[0]);
    }
    for (const auto& start : sample_starts(corpus, gemma->tokenizer, 3, 16, 1)) {
        CHECK(start.size() == 5);
        CHECK(start[0] == gemma->tokenizer.start()[0]);
    }
}

TEST_CASE("gemma: chat turns are refused without a chat template") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    RateDistortionSettings settings;
    settings.held_out = "chat";
    RateDistortion run(gemma->model, gemma->tokenizer, settings);
    CHECK_THROWS_AS(run.step(), InputError);
}
