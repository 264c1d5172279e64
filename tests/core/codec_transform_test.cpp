#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>
#include <set>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/sidecar/block_features.h"
#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/sensitivity.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4, kLength = 96;

std::vector<std::vector<TokenId>> texts() {
    static const auto split =
        split_corpus(fortunes_corpus(), shared_tokenizer(), kLength, 16 * kLength, 2 * kLength, 3);
    auto all = split.fit;
    all.insert(all.end(), split.held_out.begin(), split.held_out.end());
    return all;
}

struct Text {
    std::vector<TokenId> ids;
    StateRows rows;
    CodedRun run() const { return {rows.slice(kFirst, kLength - kFirst), std::span(ids).subspan(kFirst), kFirst}; }
};

const std::vector<Text>& run_texts() {
    static const std::vector<Text> all = [] {
        std::vector<Text> out;
        ForwardOptions kept;
        kept.logits = Logits::none;
        for (const auto& ids : texts()) out.push_back({ids, shared_model().forward_batch({ids}, kept).rows});
        return out;
    }();
    return all;
}

// Fits are shared by the tests: decomposing is what takes time.
TransformFit fitted_anew(CodedPart part, int64_t group_size, bool predictions,
                         std::optional<TransformSettings::Rounding> rounding = {}) {
    TransformSettings settings;
    settings.part = part;
    settings.rounding = rounding;
    settings.group_size = group_size;
    settings.from_token = settings.from_below = predictions;
    settings.max_components = 384;
    settings.sample_tokens = 256;
    TransformFit fit(shared_weights(), settings);
    for (size_t i = 0; i < 16; ++i) fit.add(run_texts()[i].run());
    for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
    return fit;
}

TransformFit& plain_kv() {
    static TransformFit fit = fitted_anew(CodedPart::kv, 1, false);
    return fit;
}
TransformFit& predicted_kv() {
    static TransformFit fit = fitted_anew(CodedPart::kv, 2, true);
    return fit;
}

double relative_error(const at::Tensor& exact, const at::Tensor& decoded) {
    return ((exact - decoded).square().sum() / (exact - exact.mean(0)).square().sum()).item<double>();
}

StateRows round_trip(const RunCodec& codec, const CodedRun& run) {
    return codec.decode(codec.encode(run), run.tokens, run.first_position);
}

}  // namespace

TEST_CASE("features of a full state give hidden states, keys and values back") {
    const BlockFeatures features(shared_weights(), CodedPart::full);
    const CodedRun run = run_texts().back().run();
    std::vector<at::Tensor> blocks;
    for (int64_t b = 0; b < features.blocks(); ++b) blocks.push_back(features.of(run.rows, b));
    const StateRows rows = features.rows(blocks, run.tokens);
    CHECK(relative_error(run.rows.hidden, rows.hidden) < 1e-9);
    CHECK(relative_error(run.rows.key, rows.key) <
          1e-8);  // block 0's from the embedding, the others' from the block below
    CHECK(relative_error(run.rows.value, rows.value) < 1e-8);
}

TEST_CASE("more bytes lose less, and the bytes are close to what was asked") {
    TransformFit& fit = plain_kv();
    const CodedRun run = run_texts().back().run();
    const double raw = 4.0 * 30 * 192;
    double last = 1;
    for (const double ratio : {24.0, 12.0, 8.0}) {
        const auto codec = fit.codec(ratio);
        const StateRows decoded = round_trip(*codec, run);
        const double error = relative_error(run.rows.value, decoded.value);
        CHECK(error < last * 0.85);
        last = error;
        const double bytes = static_cast<double>(codec->encode(run).size()) / static_cast<double>(run.tokens.size());
        CHECK(bytes == doctest::Approx(raw / ratio).epsilon(0.25));
        CHECK_FALSE(decoded.hidden.defined());
    }
    CHECK(last < 0.3);
}

TEST_CASE("keys and values do not lean towards zero, as what is judged by squared error does") {
    const CodedRun run = run_texts().back().run();
    TransformFit other = fitted_anew(CodedPart::kv, 1, false, rounding_of(CodedPart::hidden));
    // Of what is not rounded to 0: how much larger it is than what it stands for, in steps.
    const auto lean = [&](TransformFit& fit) {
        const auto codec = fit.codec(16);
        const TransformCodec::Latent z = codec->quantise(run);
        double more = 0, kept = 0;
        for (size_t g = 0; g < z.rounded.size(); ++g) {
            const at::Tensor value = codec->values(g, z.rounded[g], {}), whole = value.ne(0);
            more += ((value.abs() - z.exact[g].abs()) * whole).sum().item<double>();
            kept += whole.sum().item<double>();
        }
        return more / kept;
    };
    const double kv = lean(plain_kv()), squared = lean(other);
    CHECK(std::abs(squared) < 0.02);
    CHECK(kv > 0.03);
    CHECK(kv > squared + 0.03);
    CHECK(plain_kv().codec(16)->rounding().dead_zone == 0);
    CHECK(other.codec(16)->rounding().dead_zone == 0.08);
}

TEST_CASE("what is predicted of a token that recurs is what is predicted of each") {
    const auto codec = predicted_kv().codec(12);
    const Text& text = run_texts().back();
    const CodedRun run = text.run();
    REQUIRE(std::set<TokenId>(run.tokens.begin(), run.tokens.end()).size() < run.tokens.size());
    const at::Tensor below = codec->features_of(codec->groups()[0], run.rows).slice(1, 384);
    const TransformCodec::Group& group = codec->groups()[1];
    const at::Tensor embeddings = codec->features().embeddings(run.tokens);
    const at::Tensor context = transform_context(true, true, embeddings, below) - group.context_mean;
    const at::Tensor whole = at::matmul(context.to(at::kDouble), group.predict.t().to(at::kDouble)).to(at::kFloat);
    const at::Tensor predicted = codec->prediction(group, codec->predicted_from(run.tokens), below);
    const double scale = whole.abs().max().item<double>();
    CHECK((predicted - whole).abs().max().item<double>() < (codec->settings().bfloat16 ? 0.02 : 1e-5) * scale);
}

TEST_CASE("bfloat16 products change what is decoded by far less than a step does, and never a fine codec") {
    TransformFit& fit = predicted_kv();
    CHECK_FALSE(fit.codec(2)->settings().bfloat16);
    const auto given = fit.codec(12);
    CHECK(given->settings().bfloat16);
    const auto with = [&](bool bfloat16) {
        TransformSettings settings = given->settings();
        settings.bfloat16 = bfloat16;
        std::vector<TransformCodec::Group> groups = given->groups();
        for (TransformCodec::Group& group : groups) group.short_decode = group.short_predict = at::Tensor();
        return TransformCodec(std::make_shared<BlockFeatures>(shared_weights(), CodedPart::kv), settings, groups,
                              given->step(), "test");
    };
    const CodedRun run = run_texts().back().run();
    const TransformCodec whole = with(false), shortened = with(true);
    const StateRows exact = whole.decode(whole.encode(run), run.tokens, kFirst);
    const StateRows close = shortened.decode(whole.encode(run), run.tokens, kFirst);
    const double lost = relative_error(run.rows.value, exact.value), moved = relative_error(exact.value, close.value);
    CHECK(moved < 1e-3 * lost);
    CHECK((moved > 0) == multiplies_bfloat16());
    // What bfloat16 changes does not add up where it decodes what it coded.
    const StateRows own = shortened.decode(shortened.encode(run), run.tokens, kFirst);
    CHECK(relative_error(run.rows.value, own.value) == doctest::Approx(lost).epsilon(0.01));
}

TEST_CASE("predictions lose less at the same bytes") {
    const CodedRun run = run_texts().back().run();
    double errors[2];
    for (const bool predictions : {false, true}) {
        TransformFit fit = fitted_anew(CodedPart::hidden, 1, predictions);
        errors[predictions] = relative_error(run.rows.hidden, round_trip(*fit.codec(24), run).hidden);
    }
    CHECK(errors[1] < errors[0]);
}

TEST_CASE("a later token changes nothing that was decoded before it") {
    TransformFit& fit = predicted_kv();
    const auto codec = fit.codec(8);
    const Text& text = run_texts().back();
    const StateRows before = round_trip(*codec, text.run());
    StateRows changed = text.rows.slice(kFirst, kLength - kFirst);
    changed.key = changed.key.clone();
    changed.key.slice(0, 60).mul_(-2);
    const StateRows after = round_trip(*codec, {changed, text.run().tokens, kFirst});
    CHECK(at::allclose(before.key.slice(0, 0, 60), after.key.slice(0, 0, 60), 0, 1e-4));
    CHECK_FALSE(at::equal(before.key.slice(0, 60), after.key.slice(0, 60)));
}

TEST_CASE("a codec's file gives the same bytes and rows; damaged and foreign files are refused") {
    TransformFit& fit = predicted_kv();
    const auto codec = fit.codec(8);
    const auto folder = std::filesystem::temp_directory_path() / "savepoint-codec-test";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "codec.safetensors").string();
    CodecInfo info;
    info.model_sha256 = shared_model().weights().sha256();
    info.seed = 42;
    info.fitted_tokens = 1536;
    save_codec(path, *codec, info);
    const LoadedCodec loaded = load_codec(path, shared_weights());
    CHECK(loaded.info.seed == 42);
    CHECK(loaded.codec->name() == codec->name());
    const CodecInfo alone = read_codec_info(path);
    CHECK(alone.seed == 42);
    CHECK(alone.fitted_tokens == 1536);
    CHECK(alone.model_sha256 == info.model_sha256);
    const CodedRun run = run_texts().back().run();
    const std::string bytes = codec->encode(run);
    CHECK(loaded.codec->encode(run) == bytes);
    const auto* transform = dynamic_cast<const TransformCodec*>(loaded.codec.get());
    REQUIRE(transform);
    CHECK(transform->rounding().pull == codec->rounding().pull);
    CHECK(at::equal(loaded.codec->decode(bytes, run.tokens, kFirst).key, codec->decode(bytes, run.tokens, kFirst).key));

    CHECK_THROWS_AS(codec->decode(bytes.substr(0, bytes.size() / 2), run.tokens, kFirst), InputError);
    CHECK_THROWS_AS(codec->decode(bytes + "x", run.tokens, kFirst), InputError);
    std::string damaged = read_file(path);
    damaged[damaged.size() / 2] ^= 1;
    write_atomically(path, damaged);
    CHECK_THROWS_AS(load_codec(path, shared_weights()), FileError);
    info.model_sha256 = std::string(64, '0');
    save_codec(path, *codec, info);
    CHECK_THROWS_AS(load_codec(path, shared_weights()), FileError);
    CHECK_THROWS_AS(read_codec_info((folder / "none").string()), FileError);
    write_atomically(path, read_file(path).substr(0, 100));
    CHECK_THROWS_AS(read_codec_info(path), FileError);
    std::filesystem::remove_all(folder);
}

TEST_CASE("a codec's figures come back from what its file says of them, and nonsense is refused") {
    CodecFigures figures;
    figures.name = "transform kv 8x";
    figures.kind = "transform";
    figures.part = CodedPart::full;
    figures.tokens = 768;
    figures.bytes_per_token = 734.5;
    figures.kl_nats = 0.25;
    figures.k_fvu_layers = {0.5, 0.125};
    figures.long_runs.drift_kl = {0.1, NAN};
    const nlohmann::json text = nlohmann::json::parse(described(figures).dump());
    const CodecFigures back = codec_figures_from(text, "a file");
    CHECK(described(back).dump() == described(figures).dump());
    CHECK(back.part == CodedPart::full);
    CHECK(std::isnan(back.hidden_fvu));
    nlohmann::json other = text;
    other["part"] = "soul";
    CHECK_THROWS_AS(codec_figures_from(other, "a file"), FileError);
    other = text;
    other.erase("kl_nats");
    CHECK_THROWS_AS(codec_figures_from(other, "a file"), FileError);
}

TEST_CASE("states that are not finite are refused") {
    TransformFit& fit = plain_kv();
    const auto codec = fit.codec(16);
    StateRows rows = run_texts().back().run().rows;
    rows.key = rows.key.clone();
    rows.key[3][2][1][0] = NAN;
    CHECK_THROWS_AS(codec->encode({rows, run_texts().back().run().tokens, kFirst}), InputError);
}

TEST_CASE("gradients of the logits after a prefix agree with differences") {
    const Transformer& model = shared_model();
    const Text& text = run_texts().back();
    const std::vector<std::vector<TokenId>> after{{text.ids.begin() + 64, text.ids.begin() + 72}};
    const at::Tensor key = text.rows.key.slice(0, 0, 64).unsqueeze(0).clone().set_requires_grad(true);
    const at::Tensor value = text.rows.value.slice(0, 0, 64).unsqueeze(0).clone().set_requires_grad(true);
    const auto loss = [&](const at::Tensor& k, const at::Tensor& v) {
        return at::log_softmax(model.logits_after(k, v, after), -1).select(2, after[0][0]).sum();
    };
    loss(key, value).backward();
    const at::NoGradGuard no_grad;
    at::Generator generator = at::detail::createCPUGenerator(4);
    const at::Tensor direction = at::randn(key.sizes(), generator) * key.detach().std();
    const double step = 2e-3;
    const double up = loss(key.detach() + direction * step, value.detach()).item<double>();
    const double down = loss(key.detach() - direction * step, value.detach()).item<double>();
    const double slope = (key.grad() * direction).sum().item<double>();
    CHECK((up - down) / (2 * step) == doctest::Approx(slope).epsilon(0.02));
}

TEST_CASE("checkpointing: the same logits and gradients, bit for bit") {
    const Transformer& model = shared_model();
    const Text& text = run_texts().back();
    const std::vector<std::vector<TokenId>> after{{text.ids.begin() + 64, text.ids.begin() + 72}};
    const auto gradients = [&](bool checkpointing) {
        at::Tensor key = text.rows.key.slice(0, 0, 64).unsqueeze(0).clone().set_requires_grad(true);
        at::Tensor value = text.rows.value.slice(0, 0, 64).unsqueeze(0).clone().set_requires_grad(true);
        const at::Tensor logits = model.logits_after(key, value, after, checkpointing);
        at::log_softmax(logits, -1).select(2, after[0][0]).sum().backward();
        return std::array{logits.detach(), key.grad(), value.grad()};
    };
    const auto kept = gradients(false), again = gradients(true);
    CHECK(kept[1].abs().max().item<double>() > 0);
    for (size_t i = 0; i < kept.size(); ++i) CHECK(at::equal(kept[i], again[i]));
}

TEST_CASE("the sensitivity foretells the divergence that small errors make") {
    const Transformer& model = shared_model();
    SensitivityFit fit(model, 5);
    for (size_t i = 0; i < 16; i += 4) {
        std::vector<std::vector<TokenId>> batch;
        for (size_t j = i; j < i + 4; ++j) batch.push_back(run_texts()[j].ids);
        fit.add(batch, 72, kFirst);
    }
    const Sensitivity sensitivity = fit.finish();
    CHECK(sensitivity.samples == 16 * (72 - kFirst));
    CHECK(sensitivity.weight == doctest::Approx((72.0 - kFirst) / (2 * 24)));

    // White noise of one size in every block, as large as makes a small KL.
    double foretold = 0;
    for (int64_t block = 0; block < 30; ++block) foretold += sensitivity.fisher[block].trace().item<double>();
    const double variance = 0.01 / (foretold * sensitivity.weight);
    const at::NoGradGuard no_grad;
    at::Generator generator = at::detail::createCPUGenerator(8);
    double kl = 0;
    for (size_t i = 0; i < 16; ++i) {
        const Text& text = run_texts()[i];
        const at::Tensor key = text.rows.key.slice(0, 0, 72).unsqueeze(0),
                         value = text.rows.value.slice(0, 0, 72).unsqueeze(0);
        at::Tensor noise = at::randn({2, 1, 72, 30, 3, 64}, generator) * std::sqrt(variance);
        noise.slice(2, 0, kFirst).zero_();
        const std::vector<std::vector<TokenId>> after{{text.ids.begin() + 72, text.ids.end()}};
        const at::Tensor p = at::log_softmax(model.logits_after(key, value, after), -1);
        const at::Tensor q = at::log_softmax(model.logits_after(key + noise[0], value + noise[1], after), -1);
        kl += (p.exp() * (p - q)).sum(-1).mean().item<double>() / 16;
    }
    CHECK(kl == doctest::Approx(0.01).epsilon(0.35));
}

TEST_CASE("an evaluation of what loses nothing finds nothing lost") {
    class Exact final : public RunCodec {
       public:
        std::string kind() const override { return "exact"; }
        std::string name() const override { return "exact"; }
        CodedPart part() const override { return CodedPart::full; }
        std::string encode(const CodedRun& run) const override {
            held = run.rows;
            return std::string(100 * run.tokens.size(), 'x');
        }
        StateRows decode(const std::string&, std::span<const TokenId>, int64_t) const override { return held; }
        void save(TensorFile&, nlohmann::json& settings) const override { settings = nlohmann::json::object(); }
        mutable StateRows held;
    };
    const auto all = texts();
    CodecEvaluation evaluation(shared_model(), {all[0], all[1]}, {64, 32, kFirst, 2});
    CHECK_THROWS_AS(CodecTrial(evaluation, std::make_shared<Exact>()), InputError);
    evaluation.prepare();
    CodecTrial trial(evaluation, std::make_shared<Exact>());
    while (!trial.done()) trial.step();
    const CodecFigures figures = trial.figures();
    CHECK(figures.kl_nats < 1e-6);
    CHECK(figures.top1_agreement == 1);
    CHECK(std::abs(figures.delta_nll) < 1e-5);
    CHECK(figures.hidden_fvu == 0);
    CHECK(figures.k_fvu == 0);
    CHECK(figures.tokens == 128);
    CHECK(figures.bytes_per_token == doctest::Approx(100.0 * 60 / 64 + 4));
    CHECK(figures.ratio_fp16 == doctest::Approx(57600 / figures.bytes_per_token));
}
