#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>

#include "core/model/error.h"
#include "core/sidecar/agreed_integers.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/codec_learned.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/latent_regularizer.h"
#include "core/sidecar/network_trainer.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4, kLength = 72;
const char* const kArchitectures[] = {"layer_specific", "grouped", "unified", "conv", "attention"};

struct Text {
    std::vector<TokenId> ids;
    StateRows rows;
    CodedRun run() const { return {rows.slice(kFirst, kLength - kFirst), std::span(ids).subspan(kFirst), kFirst}; }
};

const std::vector<Text>& texts() {
    static const std::vector<Text> all = [] {
        const auto split = split_corpus(fortunes_corpus(), shared_tokenizer(), kLength, 12 * kLength, 2 * kLength, 3);
        std::vector<Text> out;
        ForwardOptions kept;
        kept.logits = Logits::none;
        auto ids = split.fit;
        ids.insert(ids.end(), split.held_out.begin(), split.held_out.end());
        for (const auto& one : ids) out.push_back({one, shared_model().forward_batch({one}, kept).rows});
        return out;
    }();
    return all;
}

// Decomposing is what takes time: one for all. Blocks one by one.
std::shared_ptr<const TransformCodec> transform(bool from_below) {
    const auto make = [](bool below) {
        TransformSettings settings;
        settings.part = CodedPart::kv;
        settings.group_size = 1;
        settings.from_token = false;
        settings.from_below = below;
        settings.max_components = 80;
        settings.sample_tokens = 200;
        TransformFit fit(shared_weights(), settings);
        for (size_t i = 0; i < 12; ++i) fit.add(texts()[i].run());
        for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
        return fit.codec(20);
    };
    static const auto with = make(true), without = make(false);
    return from_below ? with : without;
}

LearnedSettings settings_of(const std::string& architecture) {
    LearnedSettings s;
    s.architecture = architecture;
    s.group_size = 1;
    s.width = 16;
    s.feed_forward = 24;
    s.heads = 2;
    s.corrects = true;
    s.window = 3;
    s.from_below = architecture != "layer_specific" && architecture != "unified";
    return s;
}

struct Made {
    LearnedCodec::Parts parts;
    std::shared_ptr<LatentNetwork> network;
};

// Networks that change nothing yet, or, with `noise`, as much as training might.
Made made(const LearnedSettings& settings, double noise) {
    Made out;
    out.parts.transform = transform(settings.from_below);
    LatentNetwork::Shape shape;
    shape.context = learned_context_size(settings, out.parts.transform->features());
    for (const auto& group : out.parts.transform->groups()) {
        shape.deviation.push_back(at::linspace(2, 0.3, group.components()));
        out.parts.deviation.push_back(at::ones({group.width()}));
        out.parts.coders.push_back(group.coder);
    }
    out.network = std::make_shared<LatentNetwork>(settings, shape, 7);
    at::Generator generator = at::detail::createCPUGenerator(9);
    for (auto& [name, value] : out.network->parameters()) {
        value.add_(at::randn(value.sizes(), generator) * noise);
        value = value.to(at::kHalf).to(at::kFloat);  // as a file keeps it
    }
    out.parts.network = out.network;
    out.parts.name = settings.architecture;
    return out;
}

double unexplained(const at::Tensor& exact, const at::Tensor& decoded) {
    return ((exact - decoded).square().sum() / (exact - exact.mean(0)).square().sum()).item<double>();
}

}  // namespace

TEST_CASE("networks that are not trained write the transform's very bytes") {
    const CodedRun run = texts().back().run();
    for (const std::string architecture : kArchitectures)
        for (const bool recurrent : {false, true}) {
            if (recurrent && architecture != "layer_specific" && architecture != "grouped") continue;
            CAPTURE(architecture);
            CAPTURE(recurrent);
            LearnedSettings settings = settings_of(architecture);
            settings.recurrent = recurrent;
            settings.prior = "fixed";
            const LearnedCodec codec(made(settings, 0).parts);
            const auto linear = transform(settings.from_below);
            const std::string bytes = codec.encode(run);
            // Token by token the products round differently, which may move a value over a cell's boundary.
            if (recurrent)
                CHECK(static_cast<double>(bytes.size()) == doctest::Approx(linear->encode(run).size()).epsilon(0.01));
            else
                CHECK(bytes == linear->encode(run));
            const StateRows own = codec.decode(bytes, run.tokens, kFirst),
                            theirs = linear->decode(linear->encode(run), run.tokens, kFirst);
            CHECK(unexplained(theirs.key, own.key) < (recurrent ? 1e-2 : 1e-9));
            CHECK(unexplained(theirs.value, own.value) < (recurrent ? 1e-2 : 1e-9));

            // Widths that are all as wont to be add lists without an entry, and nothing else.
            settings.prior = "context";
            const LearnedCodec foretelling(made(settings, 0).parts);
            const std::string longer = foretelling.encode(run);
            if (learned_context_size(settings, linear->features()) == 0) {
                CHECK(longer == bytes);
                continue;
            }
            const std::vector<std::string> shorter_parts = split_parts(bytes, 30), parts = split_parts(longer, 60);
            CHECK(std::equal(shorter_parts.begin(), shorter_parts.end(), parts.begin()));
            CHECK(std::all_of(parts.begin() + 30, parts.end(), [](const std::string& one) {
                return one == AgreedIntegers::close_calls(at::zeros({1}));
            }));
            CHECK(at::equal(foretelling.decode(longer, run.tokens, kFirst).key, own.key));
        }
}

TEST_CASE("without corrections a coefficient is off by what rounding loses, whatever the networks expect") {
    const CodedRun run = texts().back().run();
    for (const std::string architecture : {"layer_specific", "unified", "attention"}) {
        CAPTURE(architecture);
        LearnedSettings settings = settings_of(architecture);
        settings.corrects = settings.from_below = false;
        const LearnedCodec codec(made(settings, 0.1).parts);
        const StateRows decoded = codec.decode(codec.encode(run), run.tokens, kFirst);
        const TransformCodec& linear = *codec.parts().transform;
        double expected = 0;
        for (size_t g = 0; g < linear.groups().size(); ++g) {
            const auto& group = linear.groups()[g];
            const at::Tensor c = linear.coefficients(group, linear.features_of(group, run.rows), {});
            const at::Tensor own = linear.coefficients(group, linear.features_of(group, decoded), {});
            CHECK((own - c).abs().max().item<double>() < 0.5 + 0.25 * 0.5 + 0.02);  // half a step, and the pull
            expected += (codec.quantise(run).exact[g] - c).square().mean().item<double>();
        }
        CHECK(expected / 30 > 1e-4);  // the networks do expect something
    }
}

TEST_CASE("every architecture decodes what it has encoded, at the bytes it foretells, and causally") {
    const Text& text = texts().back();
    const CodedRun run = text.run();
    const std::vector<CodedRun> sample{texts()[2].run(), texts()[7].run()};
    StateRows changed = run.rows.slice(0, run.rows.tokens());
    changed.key = changed.key.clone();
    changed.key.slice(0, 40).mul_(-2);
    std::vector<TokenId> other(run.tokens.begin(), run.tokens.end());
    std::reverse(other.begin() + 40, other.end());

    for (const std::string architecture : kArchitectures)
        for (const bool recurrent : {false, true}) {
            if (recurrent && architecture != "layer_specific" && architecture != "grouped") continue;
            CAPTURE(architecture);
            CAPTURE(recurrent);
            LearnedSettings settings = settings_of(architecture);
            settings.recurrent = recurrent;
            settings.prior = architecture == "conv" ? "fixed" : "context";
            Made some = made(settings, 0.01);
            const auto codec = LearnedCodec(some.parts).at_step(1, architecture, sample);
            const LearnedCodec::Latent latent = codec->quantise(run);
            const std::string bytes = codec->encode(run);
            const double headers = 4 * 61 + 30 * 8;
            CHECK(std::abs(static_cast<double>(bytes.size()) - codec->bits(latent) / 8) < headers);

            const StateRows decoded = codec->decode(bytes, run.tokens, kFirst);
            CHECK_FALSE(decoded.hidden.defined());
            CHECK(unexplained(run.rows.key, decoded.key) < 0.35);
            CHECK(unexplained(run.rows.value, decoded.value) < 0.75);

            const StateRows after = codec->decode(codec->encode({changed, other, kFirst}), other, kFirst);
            CHECK(unexplained(decoded.key.slice(0, 0, 40), after.key.slice(0, 0, 40)) < 1e-8);
            CHECK(unexplained(decoded.key.slice(0, 40), after.key.slice(0, 40)) > 0.1);
        }
}

TEST_CASE("what tokens before a token were changes how it is coded, where an architecture mixes tokens") {
    const CodedRun run = texts().back().run();
    std::vector<TokenId> other(run.tokens.begin(), run.tokens.end());
    other[30] = other[2];
    for (const std::string architecture : {"grouped", "conv", "attention"}) {
        CAPTURE(architecture);
        LearnedSettings settings = settings_of(architecture);
        settings.from_below = false;
        const LearnedCodec codec(made(settings, 0.02).parts);
        const at::Tensor as_was = codec.quantise(run).exact[0],
                         as_is = codec.quantise({run.rows, other, kFirst}).exact[0];
        const auto moved = [&](int64_t token) { return !at::allclose(as_was[token], as_is[token], 1e-4, 1e-4); };
        CHECK_FALSE(moved(29));
        CHECK(moved(30));
        CHECK(moved(31) == (architecture != "grouped"));
        CHECK(moved(32) == (architecture != "grouped"));
        CHECK(moved(33) == (architecture == "attention"));  // conv: a window of 3
    }
}

TEST_CASE("a learned codec's file gives the same bytes and rows; foreign and damaged ones are refused") {
    const CodedRun run = texts().back().run();
    const std::vector<CodedRun> sample{texts()[2].run()};
    const auto codec = LearnedCodec(made(settings_of("attention"), 0.01).parts).at_step(1.1, "attention 20x", sample);
    const auto folder = std::filesystem::temp_directory_path() / "savepoint-learned-test";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "codec.safetensors").string();
    CodecInfo info;
    info.model_sha256 = shared_model().weights().sha256();
    save_codec(path, *codec, info);
    const LoadedCodec loaded = load_codec(path, shared_weights());
    CHECK(loaded.codec->kind() == "learned");
    CHECK(loaded.codec->name() == "attention 20x");
    const std::string bytes = codec->encode(run);
    CHECK(loaded.codec->encode(run) == bytes);
    CHECK(at::equal(loaded.codec->decode(bytes, run.tokens, kFirst).value,
                    codec->decode(bytes, run.tokens, kFirst).value));
    CHECK(
        std::abs(static_cast<double>(codec->sidecar_bytes()) - static_cast<double>(std::filesystem::file_size(path))) <
        0.05 * static_cast<double>(codec->sidecar_bytes()));

    CHECK_THROWS_AS(codec->decode(bytes.substr(0, bytes.size() - 40), run.tokens, kFirst), InputError);
    TensorFile file;
    nlohmann::json settings;
    codec->save(file, settings);
    auto foreign = settings;
    foreign["architecture"] = "oracle";
    CHECK_THROWS_AS(load_learned(file, foreign, "test", shared_weights()), FileError);
    foreign = settings;
    foreign["width"] = 32;
    CHECK_THROWS_AS(load_learned(file, foreign, "test", shared_weights()), FileError);
    file.tensors.erase("learned.network.3.context.in");
    CHECK_THROWS_AS(load_learned(file, settings, "test", shared_weights()), FileError);
    std::filesystem::remove_all(folder);
}

namespace {

struct TrainerCase {
    TrainerCase(const std::string& architecture, double noise, const std::string& regularizer = "rate") {
        settings.codec = settings_of(architecture);
        settings.regularizer = regularizer;
        settings.codec.from_below =
            false;  // what is decoded below is a given to a group: no gradient, but a difference
        settings.prefix = 56;
        settings.followers = 16;
        settings.exact_first = kFirst;
        some = made(settings.codec, noise);
        some.parts.coders.clear();
        trainer.emplace(shared_model(), some.parts, some.network, settings);
        for (const size_t i : {0, 1}) {
            batch.ids.push_back(texts()[i].ids);
            keys.push_back(texts()[i].rows.key.slice(0, 0, settings.prefix));
            values.push_back(texts()[i].rows.value.slice(0, 0, settings.prefix));
        }
        // Tokens with steps of their own, as a transform with importance gives them.
        const int64_t coded = 2 * (settings.prefix - kFirst);
        batch.coarser = (at::arange(coded * 30).view({coded, 30}) % 5 - 2).to(at::kInt);
        batch.rows.key = at::cat(keys);
        batch.rows.value = at::cat(values);
    }
    double loss(bool with_kl) { return trainer->add_gradient(batch, 30, with_kl, 0, 5).loss; }
    void clear() {
        for (auto& [name, value] : some.network->parameters()) value.mutable_grad() = at::Tensor();
    }

    TrainingSettings settings;
    Made some;
    std::optional<NetworkTrainer> trainer;
    TrainingBatch batch;
    std::vector<at::Tensor> keys, values;
};

}  // namespace

TEST_CASE("gradients of the loss agree with differences, through the model as well") {
    for (const auto& [architecture, regularizer] :
         {std::pair<std::string, std::string>{"attention", "rate"}, {"unified", "rate"}, {"attention", "kl"}}) {
        TrainerCase c(architecture, 0.01, regularizer);
        c.trainer->set_kl_scale(2000);
        for (const std::string role : {"network.0.decoder.out", "group.4.spread", "network.0.decoder.context"}) {
            if (architecture == "unified" && role == "network.0.decoder.context") continue;  // it has no use for it
            CAPTURE(architecture);
            CAPTURE(role);
            at::Tensor& value = c.some.network->parameters().at(role);
            c.clear();
            c.loss(true);
            const at::Tensor gradient = value.grad().clone();
            // Up the gradient, where the loss changes by much more than it rounds.
            const at::Tensor direction = gradient.sign();
            const double h = 2e-3;
            const auto at_distance = [&](double by) {
                const at::NoGradGuard no_grad;
                value.add_(direction, by);
            };
            at_distance(h);
            const double up = c.loss(true);
            at_distance(-2 * h);
            const double down = c.loss(true);
            at_distance(h);
            const double slope = (gradient * direction).sum().item<double>();
            CHECK((up - down) / (2 * h) == doctest::Approx(slope).epsilon(0.03));
        }
    }
}

TEST_CASE("what a network sees of the token before is in training what the codec will decode there") {
    TrainingSettings settings;
    settings.codec = settings_of("grouped");
    settings.codec.recurrent = true;
    settings.codec.from_below = false;
    settings.prefix =
        kFirst + 2;  // of two tokens the first has nothing before it: one pass decodes it as the codec does
    settings.exact_first = kFirst;
    Made some = made(settings.codec, 0.3);
    some.parts.coders.clear();
    NetworkTrainer trainer(shared_model(), some.parts, some.network, settings);
    some.parts.network = some.network;
    const LearnedCodec codec(some.parts);
    TrainingBatch batch;
    batch.ids = {{texts()[0].ids.begin(), texts()[0].ids.begin() + settings.prefix + 4}};
    batch.rows = texts()[0].rows.slice(0, settings.prefix);
    const CodedRun run{texts()[0].rows.slice(kFirst, 2), std::span(texts()[0].ids).subspan(kFirst, 2), kFirst};
    const LearnedCodec::Latent latent = codec.quantise(run);
    const auto& z = latent.rounded;
    double nats = 0;
    for (size_t g = 0; g < z.size(); ++g)
        nats += regularized_latent("rate", z[g], some.network->log_spread(g) + latent.wider[g] * std::log(2.0) / 4,
                                   some.parts.transform->rounding().dead_zone, nullptr)
                    .penalty.mean()
                    .item<double>();
    const double taught = trainer.look(batch).bits;
    CHECK(taught == doctest::Approx(nats / std::log(2.0)).epsilon(1e-4));
}

TEST_CASE("steps down the gradient lower the loss, with z rounded as it will be") {
    TrainerCase c("attention", 0);
    const auto loss = [&] {
        const PassCost cost = c.trainer->look(c.batch);
        return cost.distortion + c.settings.lambda_rate * cost.bits * std::log(2.0);
    };
    const double before = loss();
    for (uint64_t i = 0; i < 16; ++i) {
        c.trainer->add_gradient(c.batch, 30, false, 0, i);
        c.trainer->step(1e-3);
    }
    CHECK(loss() < 0.97 * before);
}

TEST_CASE("latents in words: what is learned is coded, decoded, and kept in a file") {
    TrainingSettings settings;
    settings.codec = settings_of("grouped");
    settings.codec.quantizer = "vq";
    settings.prefix = 56;
    settings.followers = 16;
    settings.exact_first = kFirst;
    Made some = made(settings.codec, 0);
    some.parts.coders.clear();
    NetworkTrainer trainer(shared_model(), some.parts, some.network, settings);
    const auto batch_of = [&](size_t text) {
        return TrainingBatch{{texts()[text].ids}, texts()[text].rows.slice(0, settings.prefix), {}};
    };
    const double of_no_words = trainer.look(batch_of(12)).distortion;  // all that there is
    for (uint64_t i = 0; i < 12; ++i) {
        trainer.add_gradient(batch_of(i), 30, false, 0, i);
        trainer.step(1e-3);
    }
    const PassCost looked = trainer.look(batch_of(12));  // text that it has not seen
    CHECK(looked.distortion < 0.7 * of_no_words);
    CHECK(looked.bits < 8.0 * 30 * static_cast<double>(some.network->codes(0).runs()));
    CHECK(trainer.words_used() > 4);

    some.parts.network = trainer.as_stored();
    const std::vector<CodedRun> sample{texts()[2].run(), texts()[7].run()};
    const auto codec = LearnedCodec(some.parts).at_step(1, "grouped vq", sample);
    const CodedRun run = texts().back().run();
    const std::string bytes = codec->encode(run);
    const LearnedCodec::Latent latent = codec->quantise(run);
    CHECK(std::abs(static_cast<double>(bytes.size()) - codec->bits(latent) / 8) < 4 * 31 + 30 * 8);
    const StateRows decoded = codec->decode(bytes, run.tokens, kFirst);
    CHECK(unexplained(run.rows.key, decoded.key) < 0.7);
    CHECK(unexplained(run.rows.value, decoded.value) < 0.95);

    const auto folder = std::filesystem::temp_directory_path() / "savepoint-words-test";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "codec.safetensors").string();
    CodecInfo info;
    info.model_sha256 = shared_model().weights().sha256();
    save_codec(path, *codec, info);
    const LoadedCodec loaded = load_codec(path, shared_weights());
    CHECK(loaded.codec->encode(run) == bytes);
    CHECK(at::equal(loaded.codec->decode(bytes, run.tokens, kFirst).value, decoded.value));
    std::filesystem::remove_all(folder);

    TensorFile file;
    nlohmann::json described;
    codec->save(file, described);
    described["quantizer"] = "runes";
    CHECK_THROWS_AS(load_learned(file, described, "test", shared_weights()), FileError);
}
