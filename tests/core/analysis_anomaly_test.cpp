// Anomaly scores against closed forms, on sequences whose distribution is known: Gaussian, autocorrelated
// as read-outs are (AR(1)), with a mean and a covariance of their own for every layer and head.

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>

#include "core/analysis/anomaly.h"
#include "core/model/error.h"

using namespace savepoint;

namespace {

constexpr int64_t kLayers = 2, kHeads = 3, kDim = 6;

ModelConfig config_of() {
    ModelConfig config;
    config.layers = kLayers;
    config.heads = kHeads;
    config.kv_heads = 1;
    config.head_dim = kDim;
    return config;
}

AnomalyChoice choice_of(PhiKind kind) {
    AnomalyChoice choice;
    choice.phi.kind = kind;
    return choice;
}

class Source {
   public:
    explicit Source(double memory = 0.3) : memory_(memory) {
        at::manual_seed(11);
        mixing_ = at::randn({kLayers, kHeads, kDim, kDim}) + 2 * at::eye(kDim);
        mean_ = at::randn({kLayers, kHeads, kDim}) * 5;
    }

    at::Tensor sequence(int64_t tokens) const {
        at::Tensor x = at::randn({tokens, kLayers, kHeads, kDim});
        for (int64_t t = 1; t < tokens; ++t) x[t].mul_(std::sqrt(1 - memory_ * memory_)).add_(x[t - 1], memory_);
        return at::einsum("lhij,tlhj->tlhi", {mixing_, x}) + mean_;
    }

    const at::Tensor& mean() const { return mean_; }

   private:
    double memory_;
    at::Tensor mixing_, mean_;
};

std::shared_ptr<const AnomalyReference> fit_on(const Source& source, int64_t sequences, int64_t tokens) {
    AnomalyFit fit(config_of(), {});
    for (int64_t i = 0; i < sequences; ++i) fit.add(source.sequence(tokens));
    fit.fit_moments();
    for (int64_t i = 0; i < sequences; ++i) fit.calibrate(source.sequence(tokens));
    return fit.finish();
}

const AnomalyReference& reference() {
    static const auto fitted = fit_on(Source(), 150, 32);
    return *fitted;
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

double fraction_above(const at::Tensor& percentiles, double level) {
    return (percentiles > level).to(at::kDouble).mean().item<double>();
}

void check_same(const AnomalyScores& a, const AnomalyScores& b) {
    CHECK(at::equal(a.distance, b.distance));
    CHECK(at::equal(a.percentile, b.percentile));
    CHECK(at::equal(a.token, b.token));
    CHECK(at::equal(a.token_percentile, b.token_percentile));
}

}  // namespace

TEST_CASE("the distance is sqrt(y^T covariance^-1 y / head_dim) of the shrunk covariance") {
    const Source source;
    AnomalyFit fit(config_of(), choice_of(PhiKind::identity));
    std::vector<at::Tensor> rows;
    for (int i = 0; i < 8; ++i) {
        const at::Tensor sequence = source.sequence(8);
        fit.add(sequence);
        rows.push_back(sequence.slice(0, 4));  // bucket [4,8)
    }
    fit.fit_moments();
    for (int i = 0; i < 8; ++i) fit.calibrate(source.sequence(8));
    const auto fitted = fit.finish();
    CHECK(fitted->choice() == choice_of(PhiKind::identity));
    CHECK(fitted->fitted_tokens() == 64);
    CHECK(fitted->calibration_tokens() == 64);

    const at::Tensor x = source.sequence(1), samples = at::cat(rows);
    const at::Tensor distance = fitted->score(x, 5).distance;
    for (int64_t layer = 0; layer < kLayers; ++layer)
        for (int64_t head = 0; head < kHeads; ++head) {
            const at::Tensor set = samples.select(1, layer).select(1, head).to(at::kDouble);
            // 32 tokens of 8 texts are 8 independent draws: four times the shrinkage of 32.
            const double shrinkage = std::min(1.0, 4 * ledoit_wolf(set).shrinkage);
            const at::Tensor centred = set - set.mean(0), spread = centred.t().mm(centred) / set.size(0);
            const at::Tensor covariance =
                (1 - shrinkage) * spread + shrinkage * spread.trace() / kDim * at::eye(kDim, at::kDouble);
            const at::Tensor y = x[0][layer][head].to(at::kDouble) - set.mean(0);
            const double expected = std::sqrt(y.dot(at::linalg_solve(covariance, y)).item<double>() / kDim);
            CHECK(distance[0][layer][head].item<double>() == doctest::Approx(expected).epsilon(1e-4));
        }
}

TEST_CASE("squared distances of Gaussian text are chi-squared / head_dim") {
    const Source source(0);
    const auto fitted = fit_on(source, 4000, 8);
    std::vector<at::Tensor> squared;
    for (int i = 0; i < 400; ++i) squared.push_back(fitted->score(source.sequence(8), 0).distance.square());
    const at::Tensor all = at::cat(squared).to(at::kDouble);
    CHECK(all.mean().item<double>() == doctest::Approx(1).epsilon(0.05));
    CHECK(all.var().item<double>() == doctest::Approx(2.0 / kDim).epsilon(0.1));
    CHECK(largest(fitted->score(source.mean().unsqueeze(0), 5).distance) < 0.2);
}

TEST_CASE("percentiles of calibration text are uniform") {
    const Source source;
    AnomalyFit fit(config_of(), {});
    for (int i = 0; i < 100; ++i) fit.add(source.sequence(16));
    fit.fit_moments();
    std::vector<at::Tensor> held_out;
    for (int i = 0; i < 100; ++i) held_out.push_back(source.sequence(16));
    for (const auto& sequence : held_out) fit.calibrate(sequence);
    const auto fitted = fit.finish();
    std::vector<at::Tensor> percentiles, token_percentiles;
    for (const auto& sequence : held_out) {
        const AnomalyScores scores = fitted->score(sequence, 0);
        percentiles.push_back(scores.percentile.slice(0, 8));
        token_percentiles.push_back(scores.token_percentile.slice(0, 8));
    }
    for (double level : {5.0, 25.0, 50.0, 75.0, 95.0}) {
        CAPTURE(level);
        CHECK(fraction_above(at::cat(percentiles), level) == doctest::Approx(1 - level / 100).epsilon(0.02));
        CHECK(fraction_above(at::cat(token_percentiles), level) == doctest::Approx(1 - level / 100).epsilon(0.02));
        for (int64_t head = 0; head < kHeads; ++head)
            CHECK(fraction_above(at::cat(percentiles).select(1, 1).select(1, head), level) ==
                  doctest::Approx(1 - level / 100).epsilon(0.02));
    }
}

TEST_CASE("of new normal text, 3 to 7 % lies above the 95th percentile; of other text, most") {
    const Source source;
    std::vector<at::Tensor> percentiles, token_percentiles, moved;
    for (int i = 0; i < 150; ++i) {
        const at::Tensor sequence = source.sequence(32);
        const AnomalyScores scores = reference().score(sequence, 0);
        percentiles.push_back(scores.percentile);
        token_percentiles.push_back(scores.token_percentile);
        moved.push_back(reference().score((sequence - source.mean()) * 2 + source.mean(), 0).token_percentile);
    }
    const double heads = fraction_above(at::cat(percentiles), 95),
                 tokens = fraction_above(at::cat(token_percentiles), 95);
    CAPTURE(heads);
    CAPTURE(tokens);
    CHECK(heads > 0.03);
    CHECK(heads < 0.07);
    CHECK(tokens > 0.03);
    CHECK(tokens < 0.07);
    CHECK(fraction_above(at::cat(moved), 95) > 0.9);
}

TEST_CASE("few calibration sequences do not make too many alarms") {
    const Source source;
    double above = 0;
    for (int round = 0; round < 20; ++round) {
        AnomalyFit fit(config_of(), {});
        for (int i = 0; i < 40; ++i) fit.add(source.sequence(4));
        fit.fit_moments();
        for (int i = 0; i < 6; ++i) fit.calibrate(source.sequence(4));
        above += fraction_above(fit.finish()->score(source.sequence(4), 0).percentile, 95) / 20;
    }
    CHECK(above > 0.02);
    CHECK(above < 0.08);
}

TEST_CASE("the token score is the mean squared distance, and percentiles stay in 0..100") {
    const Source source;
    const at::Tensor sequence = source.sequence(40);
    const AnomalyScores scores = reference().score(sequence, 0);
    CHECK(scores.distance.sizes() == at::IntArrayRef({40, kLayers, kHeads}));
    CHECK(scores.percentile.sizes() == scores.distance.sizes());
    CHECK(scores.token_percentile.sizes() == at::IntArrayRef({40}));
    CHECK(largest(scores.token - scores.distance.square().mean({1, 2})) < 1e-5);
    const AnomalyScores far = reference().score(sequence * 1e6, 0);
    CHECK(at::equal(far.percentile, at::full_like(far.percentile, 100)));
    const AnomalyScores broken = reference().score(at::full_like(sequence, NAN), 0);
    CHECK(at::equal(broken.token_percentile, at::full({40}, 100.0)));
    CHECK(reference().score(sequence.slice(0, 0, 0), 0).token.size(0) == 0);
}

TEST_CASE("a run scored token by token equals the run scored at once") {
    const at::Tensor sequence = Source().sequence(40);
    const AnomalyScores whole = reference().score(sequence, 3);
    for (int64_t t = 0; t < 40; ++t) {
        const AnomalyScores one = reference().score(sequence.slice(0, t, t + 1), 3 + t);
        REQUIRE(largest(one.distance[0] - whole.distance[t]) < 1e-4);
        REQUIRE(largest(one.percentile[0] - whole.percentile[t]) < 0.1);
        REQUIRE(largest(one.token[0] - whole.token[t]) < 1e-3);
    }
}

TEST_CASE("positions without a bucket of their own use the nearest one") {
    const Source source;
    const at::Tensor x = source.sequence(1);
    check_same(reference().score(x, 16), reference().score(x, 5000));  // fitted up to [16,32)

    AnomalyFit fit(config_of(), {});
    for (int i = 0; i < 2; ++i) fit.add(source.sequence(16));  // [0,4) and [4,8): 8 samples each, 12 are needed
    fit.fit_moments();
    for (int i = 0; i < 4; ++i) fit.calibrate(source.sequence(16));
    const auto fitted = fit.finish();
    CHECK(at::equal(fitted->score(x, 0).distance, fitted->score(x, 8).distance));
}

TEST_CASE("a reference comes back from its file as it was") {
    const at::Tensor sequence = Source().sequence(40);
    TensorFile file;
    reference().save(file, "anomaly.elu1.");
    const TensorFile reopened = from_safetensors(to_safetensors(file), "reference.safetensors");
    const auto loaded = AnomalyReference::load(reopened, "anomaly.elu1.", "reference.safetensors");
    check_same(loaded->score(sequence, 0), reference().score(sequence, 0));
    CHECK(loaded->choice() == AnomalyChoice());
    CHECK(loaded->fitted_tokens() == 150 * 32);
    CHECK(loaded->calibration_tokens() == 150 * 32);
    CHECK(loaded->layers() == kLayers);
    CHECK(loaded->units() == kHeads);
    CHECK(loaded->width() == kDim);
    // The triangle alone is stored.
    CHECK(file.tensors.at("anomaly.elu1.whitening").size(2) == kDim * (kDim + 1) / 2);
}

TEST_CASE("a reference of an older version, which names its phi alone, is read") {
    TensorFile file;
    reference().save(file, "r.");
    file.metadata = {{"r.map", "elu1"}};
    file.tensors.erase("r.head_dim");
    const auto loaded = AnomalyReference::load(file, "r.", "reference.safetensors");
    CHECK(loaded->choice() == AnomalyChoice());
    check_same(loaded->score(Source().sequence(40), 0), reference().score(Source().sequence(40), 0));
    CHECK(loaded->phi()->features() == kDim);
}

TEST_CASE("a damaged reference is refused with the name of the file and the field") {
    TensorFile good;
    reference().save(good, "r.");
    const auto refused = [&](const std::string& field, const std::function<void(TensorFile&)>& damage) {
        TensorFile file;
        for (const auto& [name, tensor] : good.tensors) file.tensors[name] = tensor.clone();
        file.metadata = good.metadata;
        damage(file);
        try {
            AnomalyReference::load(file, "r.", "reference.safetensors");
        } catch (const FileError& error) {
            const std::string message = error.what();
            CHECK(message.find("reference.safetensors: r." + field) == 0);
            return true;
        }
        return false;
    };
    CHECK_FALSE(refused("", [](TensorFile&) {}));
    CHECK(refused("choice", [](TensorFile& f) { f.metadata.clear(); }));
    CHECK(refused("choice", [](TensorFile& f) { f.metadata["r.choice"] = "relu"; }));
    CHECK(refused("choice", [](TensorFile& f) { f.metadata["r.choice"] = "elu1.read_out.mahalanobis2"; }));
    CHECK(refused("choice", [](TensorFile& f) { f.metadata["r.choice"] = "elu1.read_out.relative"; }));
    CHECK(refused("phi.query", [](TensorFile& f) { f.metadata["r.choice"] = "hedgehog.read_out.mahalanobis"; }));
    CHECK(refused("kept.0", [](TensorFile& f) { f.metadata["r.choice"] = "elu1.read_out.knn"; }));
    CHECK(refused("components.mean", [](TensorFile& f) { f.metadata["r.choice"] = "elu1.rows.mahalanobis"; }));
    CHECK(refused("head_dim", [](TensorFile& f) { f.tensors["r.head_dim"].fill_(1 << 20); }));
    for (const char* field :
         {"tokens", "fitted_buckets", "mean", "whitening", "calibrated_buckets", "quantiles", "token_quantiles"}) {
        const std::string name = field;
        CAPTURE(name);
        CHECK(refused(name, [&](TensorFile& f) { f.tensors.erase("r." + name); }));
        CHECK(refused(name, [&](TensorFile& f) { f.tensors["r." + name] = f.tensors["r." + name].to(at::kHalf); }));
        CHECK(refused(name, [&](TensorFile& f) { f.tensors["r." + name] = f.tensors["r." + name].unsqueeze(0); }));
    }
    for (const char* field : {"mean", "whitening", "quantiles", "token_quantiles"}) {
        const std::string name = field;
        CHECK(refused(name, [&](TensorFile& f) { f.tensors["r." + name].view({-1})[0] = NAN; }));
        CHECK(refused(name, [&](TensorFile& f) { f.tensors["r." + name] = f.tensors["r." + name].slice(0, 1); }));
    }
    CHECK(refused("whitening", [](TensorFile& f) { f.tensors["r.whitening"] = f.tensors["r.whitening"].slice(2, 1); }));
    CHECK(refused("quantiles", [](TensorFile& f) { f.tensors["r.quantiles"].neg_(); }));
    CHECK(refused("fitted_buckets", [](TensorFile& f) { f.tensors["r.fitted_buckets"][0] = -1; }));
    CHECK(refused("fitted_buckets", [](TensorFile& f) { f.tensors["r.fitted_buckets"][0] = 99; }));
    CHECK(refused("calibrated_buckets", [](TensorFile& f) { f.tensors["r.calibrated_buckets"].zero_(); }));
    CHECK(refused("tokens", [](TensorFile& f) { f.tensors["r.tokens"].fill_(-5); }));
}

TEST_CASE("fitting out of order, on too little, or on another model's read-outs is refused") {
    const Source source;
    AnomalyFit fit(config_of(), {});
    CHECK_THROWS_AS(fit.calibrate(source.sequence(4)), InputError);
    CHECK_THROWS_AS(fit.add(source.sequence(4).slice(1, 1)), InputError);
    CHECK_THROWS_AS(fit.add(at::full({4, kLayers, kHeads, kDim}, NAN)), InputError);
    CHECK_THROWS_AS(fit.fit_moments(), InputError);
    for (int i = 0; i < 20; ++i) fit.add(source.sequence(4));
    fit.fit_moments();
    CHECK_THROWS_AS(fit.add(source.sequence(4)), InputError);
    CHECK_THROWS_AS(fit.fit_moments(), InputError);
    CHECK_THROWS_AS(fit.finish(), InputError);
    CHECK_THROWS_AS(reference().score(source.sequence(4).slice(3, 1), 0), InputError);
    CHECK_THROWS_AS(reference().score(source.sequence(4), -1), InputError);
    CHECK_THROWS_AS(AnomalyFit(ModelConfig{}, {}), InputError);
}

TEST_CASE("heads that never vary are scored without NaN") {
    AnomalyFit fit(config_of(), {});
    const at::Tensor constant = at::ones({16, kLayers, kHeads, kDim});
    for (int i = 0; i < 5; ++i) fit.add(constant);
    fit.fit_moments();
    for (int i = 0; i < 5; ++i) fit.calibrate(constant);
    const AnomalyScores same = fit.finish()->score(constant, 0);
    CHECK(largest(same.distance) == 0);
    CHECK(fit.finish()->score(constant * 1.001, 0).token.isfinite().all().item<bool>());
}
