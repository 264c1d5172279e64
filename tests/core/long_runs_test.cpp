#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/attention_output.h"
#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/long_runs.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kPrefix = 40;

// Keeps what it is given, but for a share of noise: what a codec of known error would do.
class Noisy final : public RunCodec {
   public:
    explicit Noisy(double share, CodedPart part = CodedPart::full) : share_(share), part_(part) {}
    std::string kind() const override { return "noisy"; }
    std::string name() const override { return "noisy"; }
    CodedPart part() const override { return part_; }
    std::string encode(const CodedRun& run) const override {
        held_ = run.rows;
        ++coded;
        tokens += run.rows.tokens();
        return {};
    }
    StateRows decode(const std::string&, std::span<const TokenId>, int64_t) const override {
        const auto worse = [&](const at::Tensor& x) {
            if (share_ == 0) return x;
            return x + at::sin(at::arange(x.numel(), at::kFloat) * 1.7).view(x.sizes()) * x.std() * share_;
        };
        return {worse(held_.hidden), worse(held_.key), worse(held_.value), {}};
    }
    void save(TensorFile&, nlohmann::json& settings) const override { settings = nlohmann::json::object(); }
    mutable int64_t coded = 0, tokens = 0;

   private:
    double share_;
    CodedPart part_;
    mutable StateRows held_;
};

std::vector<std::vector<TokenId>> texts() {
    return split_corpus(fortunes_corpus(), shared_tokenizer(), kPrefix + 8, 0, 2 * (kPrefix + 8), 3).held_out;
}

}  // namespace

TEST_CASE("runs from exact states agree to the end and do not drift; worse codecs agree less and drift more") {
    LongRunSettings settings{kPrefix, 4, 12, 3, 5};
    std::vector<LongRunFigures> all;
    for (const double share : {0.0, 0.05, 0.6}) {
        const auto codec = std::make_shared<Noisy>(share);
        LongRuns runs(shared_model(), texts(), codec, settings);
        while (!runs.done()) runs.step();
        all.push_back(runs.figures());
        // By sequence: once to go on greedily, then before each round, with the rows that came since.
        CHECK(codec->coded == 2 * (1 + 3));
        const int64_t kept = kPrefix - 1 - 4;
        CHECK(codec->tokens == 2 * (kept + kept + (kept + 5) + (kept + 10)));
    }
    CHECK(all[0].greedy_agreement == 12);
    REQUIRE(all[0].drift_kl.size() == 3);
    for (const double kl : all[0].drift_kl) CHECK(kl < 1e-5);  // chunks and single steps round differently
    CHECK(all[2].greedy_agreement < all[0].greedy_agreement);
    for (size_t round = 0; round < 3; ++round) CHECK(all[1].drift_kl[round] < all[2].drift_kl[round]);
    CHECK(all[1].drift_kl[0] > 1e-4);
}

TEST_CASE("codecs without keys and values, and short sequences, are refused") {
    LongRunSettings settings{kPrefix, 4, 12, 3, 5};
    CHECK_THROWS_AS(LongRuns(shared_model(), texts(), std::make_shared<Noisy>(0, CodedPart::hidden), settings),
                    InputError);
    settings.prefix = 1000;
    CHECK_THROWS_AS(LongRuns(shared_model(), texts(), std::make_shared<Noisy>(0), settings), InputError);
}

TEST_CASE("attention's output is what the model's own attention makes") {
    const auto ids = texts().front();
    at::Tensor z;
    Hooks hooks;
    hooks.read("blocks.7.attn.hook_z", [&](const at::Tensor& x) { z = x.clone(); });
    KvCache cache = shared_model().make_cache(static_cast<int64_t>(ids.size()));
    ForwardOptions options;
    options.hooks = &hooks;
    const StateRows rows = shared_model().prefill(cache, ids, options).rows;
    const int64_t from = static_cast<int64_t>(ids.size()) - 9;
    const std::span<const TokenId> last = std::span<const TokenId>(ids).subspan(static_cast<size_t>(from));
    const at::Tensor q = shared_model().rotate(shared_model().queries(rows.slice(from, 9), last), from);
    const at::Tensor made =
        attention_output(shared_model().config(), q, shared_model().rotate(rows.key, 0), rows.value);
    REQUIRE(made.sizes() == at::IntArrayRef({9, 30, 9, 64}));
    const at::Tensor truth = z.reshape({static_cast<int64_t>(ids.size()), 9, 64}).slice(0, from);
    CHECK(at::allclose(made.select(1, 7), truth, 1e-3, 1e-4));
}

TEST_CASE("errors by head and of attention are those of the noise that was put in") {
    const auto all = texts();
    CodecEvaluation evaluation(shared_model(), {all[0], all[1]}, {kPrefix, 8, 4, 2});
    evaluation.prepare();
    std::vector<CodecFigures> figures;
    for (const double share : {0.0, 0.1}) {
        CodecTrial trial(evaluation, std::make_shared<Noisy>(share));
        while (!trial.done()) trial.step();
        figures.push_back(trial.figures());
    }
    CHECK(figures[0].attention_error == 0);
    REQUIRE(figures[1].k_mse_heads.size() == 90);
    REQUIRE(figures[1].attention_error_layers.size() == 30);
    // sin^2 is a half in the mean, and the noise a tenth of the deviation of all keys: the same for every head.
    double mean = 0;
    for (const double mse : figures[1].k_mse_heads) mean += mse / 90;
    for (const double mse : figures[1].k_mse_heads) CHECK(mse == doctest::Approx(mean).epsilon(0.05));
    CHECK(figures[1].attention_error > 1e-4);
    CHECK(figures[1].attention_error < 0.5);
}
