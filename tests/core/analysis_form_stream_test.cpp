// Features of forms token by token, against the forms of states summed up by themselves; components against closed
// forms; pruned states against sums over what is kept.

#include <ATen/ATen.h>

#include <numeric>
#include <vector>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/attention_capture.h"
#include "core/analysis/attention_mass.h"
#include "core/analysis/choice_fit.h"
#include "core/analysis/form_stream.h"
#include "core/analysis/kept_rows.h"
#include "core/analysis/pruned_states.h"
#include "core/analysis/state_forms.h"
#include "core/model/error.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kLayers = 2, kHeads = 4, kKvHeads = 2, kDim = 6;

struct Run {
    at::Tensor query, key, value;
    Run slice(int64_t first, int64_t last) const {
        return {query.slice(0, first, last), key.slice(0, first, last), value.slice(0, first, last)};
    }
};

Run random_run(int64_t tokens) {
    at::manual_seed(17);
    return {at::randn({tokens, kLayers, kHeads, kDim}), at::randn({tokens, kLayers, kKvHeads, kDim}),
            at::randn({tokens, kLayers, kKvHeads, kDim})};
}

std::shared_ptr<const Phi> phi_of(PhiKind kind) {
    PhiSettings settings;
    settings.kind = kind;
    settings.favor_features = 10;
    if (kind != PhiKind::hedgehog) return std::make_shared<Phi>(settings, kDim);
    at::manual_seed(3);
    return std::make_shared<Phi>(Phi::hedgehog(settings, at::randn({kLayers, kHeads, kDim, kDim}) * 0.4,
                                               at::randn({kLayers, kKvHeads, kDim, kDim}) * 0.4));
}

double difference(const at::Tensor& a, const at::Tensor& b) {
    REQUIRE(a.sizes() == b.sizes());
    const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
    return ((x - y).abs().max() / y.abs().max().clamp_min(1)).item<double>();
}

// The form of the state after the token, summed up from the first.
FormValues form_after(StateForm form, const std::shared_ptr<const Phi>& phi, const Run& run, int64_t token) {
    PhiState state;
    state.phi = phi;
    state.add(run.key.slice(0, 0, token + 1), run.value.slice(0, 0, token + 1));
    const at::Tensor query =
        form == StateForm::mean_query ? run.query.slice(0, 0, token + 1).mean(0) : run.query[token];
    return form_values(form, state, query);
}

FormRows next(FormStream& stream, const Run& run) { return stream.next(run.query, run.key, run.value); }

}  // namespace

TEST_CASE("a stream of every form and phi gives what the state after each token gives, in pieces and copied") {
    const Run run = random_run(90);
    ModelConfig config;
    config.layers = kLayers, config.heads = kHeads, config.kv_heads = kKvHeads, config.head_dim = kDim;
    for (const PhiKind kind : all_phi())
        for (const StateForm form : all_forms()) {
            CAPTURE(to_string(kind));
            CAPTURE(to_string(form));
            const auto phi = phi_of(kind);
            FormStream stream(phi, form);
            const FormRows begun = next(stream, run.slice(0, 70));
            FormStream branch = stream, skipping(phi, form);
            const FormRows rest = next(stream, run.slice(70, 90)), again = next(branch, run.slice(70, 90));
            CHECK(stream.tokens() == 90);
            CHECK(at::equal(rest.values, again.values));
            skipping.skip(run.query.slice(0, 0, 70), run.key.slice(0, 0, 70), run.value.slice(0, 0, 70));
            const Run last = run.slice(70, 90);
            const FormRows chosen = skipping.next(last.query, last.key, last.value, {0, 19});
            CHECK(difference(chosen.values[1], rest.values[19]) < 2e-4);
            const FormShape shape = form_shape(form, *phi, config);
            const int64_t width = is_matrix(form) ? phi->features() * kDim : shape.width;
            CHECK(begun.values.sizes() == at::IntArrayRef({70, kLayers, shape.units, width}));
            for (const int64_t token : {0, 30, 69}) {
                const FormValues expected = form_after(form, phi, run, token);
                CHECK(difference(begun.values[token], expected.values) < 5e-4);
                CHECK(begun.masked[token].item<int64_t>() == expected.masked);
            }
            CHECK(difference(rest.values[5], form_after(form, phi, run, 75).values) < 5e-4);
        }
}

TEST_CASE("a read-out goes on only from a state of the same phi and model") {
    const Run run = random_run(5);
    PhiState start;
    start.phi = phi_of(PhiKind::relu);
    start.add(run.key, run.value);
    CHECK_THROWS_AS(read_out(*phi_of(PhiKind::elu1), run.query, run.key, run.value, &start), InputError);
    const auto phi = phi_of(PhiKind::relu);
    CHECK_THROWS_AS(read_out(*phi, run.query.slice(1, 1), run.key.slice(1, 1), run.value.slice(1, 1), &start),
                    InputError);
    CHECK(read_out(*phi, run.query.slice(0, 0, 0), run.key.slice(0, 0, 0), run.value.slice(0, 0, 0), &start)
              .values.size(0) == 0);
}

TEST_CASE(
    "components: rows in a span of two directions have two coordinates and no residual; what leaves it is its "
    "distance") {
    at::manual_seed(2);
    const at::Tensor basis = std::get<0>(at::linalg_qr(at::randn({40, 3}, at::kDouble))).t();  // [3, 40] orthonormal
    const at::Tensor along = at::randn({50, 2}, at::kDouble) * at::tensor({5.0, 2.0}, at::kDouble);
    const at::Tensor rows = (along.mm(basis.slice(0, 0, 2)) + 7).unsqueeze(1);  // [50, 1, 40]
    const MatrixComponents components = fit_components(rows);
    CHECK(components.axes[0].slice(0, 2).abs().max().item<double>() == 0);
    const at::Tensor features = reduced(components, rows);
    CHECK(features.sizes() == at::IntArrayRef({50, 1, kMatrixComponents + 1}));
    CHECK(features.slice(2, 2).abs().max().item<double>() < 1e-6);
    // Distances within the span stay.
    const at::Tensor a = features[3][0] - features[8][0];
    CHECK(a.norm().item<double>() == doctest::Approx((along[3] - along[8]).norm().item<double>()));
    const at::Tensor left = reduced(components, rows.slice(0, 0, 1) + 4 * basis[2]);
    CHECK(left[0][0][kMatrixComponents].item<double>() == doctest::Approx(4));
    CHECK_THROWS_AS(fit_components(rows.slice(0, 0, 1)), InputError);
}

TEST_CASE("choices by name; those that cannot be are refused") {
    for (const PhiKind kind : all_phi())
        for (const StateForm form : all_forms())
            for (const DetectorKind detector : live_detectors())
                for (const bool rotary : {false, true}) {
                    AnomalyChoice choice{{.kind = kind, .rotary = rotary}, form, detector};
                    // What a phi takes no notice of has no place in the name.
                    if (kind == PhiKind::favor) choice.phi.favor_features = 32, choice.phi.favor_seed = 9;
                    if (kind == PhiKind::dpfp) choice.phi.dpfp_nu = 3;
                    CHECK(anomaly_choice_from(to_string(choice)) == choice);
                }
    CHECK(to_string(AnomalyChoice()) == "elu1.read_out.mahalanobis");
    for (const char* wrong :
         {"", "elu1", "elu1.read_out", "elu1.read_out.near", "elu1-3.read_out.knn", "favor-a-1.rows.knn",
          "favor.rows.knn", "elu1.before.rows.knn", "../elu1.rows.knn", "elu1.rows.knn.x"})
        CHECK_THROWS_AS(anomaly_choice_from(wrong), InputError);
    CHECK(live_detectors().size() == 6);
    CHECK(default_form(PhiKind::identity) == StateForm::mean);
    CHECK(default_form(PhiKind::elu1) == StateForm::read_out);
}

TEST_CASE("detectors of samples score as their own kind does on the kept rows, over the median of calibration text") {
    ModelConfig config;
    config.layers = 2, config.heads = 2, config.kv_heads = 1, config.head_dim = 5;
    at::manual_seed(4);
    const auto sequence = [&] { return at::randn({4, 2, 2, 5}) + 3; };
    for (const DetectorKind kind : live_detectors()) {
        if (kind == DetectorKind::mahalanobis) continue;
        CAPTURE(to_string(kind));
        AnomalyFit fit(config, {.detector = kind});
        std::vector<at::Tensor> added, held_out;
        for (int i = 0; i < 25; ++i) fit.add(added.emplace_back(sequence()));  // 100 rows of [0,4): all are kept
        fit.fit_moments();
        for (int i = 0; i < 15; ++i) fit.calibrate(held_out.emplace_back(sequence()));
        const auto reference = fit.finish();
        const at::Tensor rows = sequence();
        const AnomalyScores scores = reference->score(rows, 0);
        const auto table = [](const at::Tensor& x) {
            const at::Tensor plain = x.select(1, 1).select(1, 0).contiguous();
            PointTable points{plain.size(0), plain.size(1), {}};
            points.values.assign(plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel());
            return points;
        };
        const auto detector = make_detector(live_settings(kind));
        detector->fit(table(at::cat(added)));
        std::vector<double> usual = detector->score(table(at::cat(held_out)));
        std::sort(usual.begin(), usual.end());
        const double median = usual[(usual.size() - 1) / 2];  // the lower one, as at::median has it
        const std::vector<double> expected = detector->score(table(rows));
        for (int64_t i = 0; i < 4; ++i)
            CHECK(scores.distance[i][1][0].item<double>() ==
                  doctest::Approx(expected[static_cast<size_t>(i)] / median).epsilon(1e-4));
        CHECK(reference->score(rows + 40, 0).percentile.min().item<float>() == 100);
        CHECK(reference->score(at::full_like(rows, NAN), 0).token_percentile.min().item<float>() == 100);

        TensorFile file;
        reference->save(file, "r.");
        const auto loaded = AnomalyReference::load(from_safetensors(to_safetensors(file), "f"), "r.", "f");
        CHECK(loaded->choice() == reference->choice());
        CHECK(at::equal(loaded->score(rows, 0).distance, scores.distance));
        file.tensors["r.scale"].zero_();
        CHECK_THROWS_AS(AnomalyReference::load(file, "r.", "f"), FileError);
    }
    CHECK_THROWS_AS(AnomalyFit(config, {.detector = DetectorKind::contrastive_mahalanobis}), InputError);
    CHECK_THROWS_AS(AnomalyFit(config, {.form = StateForm::rows}), InputError);  // without components
}

TEST_CASE("a reservoir keeps every row of a stream with the same chance, and as many as it may") {
    std::vector<double> kept(1024, 0);
    RowReservoir reservoir;
    for (int64_t i = 0; i < 1024; i += 8) reservoir.add(at::arange(i, i + 8, at::kFloat).view({8, 1, 1}));
    CHECK(reservoir.seen() == 1024);
    const at::Tensor rows = reservoir.kept().flatten();
    CHECK(rows.numel() == kKeptRows);
    CHECK(std::get<0>(at::_unique(rows)).numel() == kKeptRows);
    // Of 128 uniform draws without replacement from 0..1023 the mean is 511.5 with a deviation of 24.4.
    CHECK(std::abs(rows.mean().item<double>() - 511.5) < 4 * 24.4);
    CHECK((rows < 512).sum().item<int64_t>() > 40);
    CHECK((rows < 512).sum().item<int64_t>() < 88);
}

TEST_CASE("positions of a text that states are taken at: few of each bucket, evenly spread") {
    CHECK(spread_positions(5, 16) == std::vector<int64_t>{0, 1, 2, 3, 4});
    CHECK(spread_positions(16, 2) == std::vector<int64_t>{1, 3, 5, 7, 10, 14});
}

TEST_CASE("pruned weights by hand") {
    const at::Tensor received = at::tensor({0.5f, 0.1f, 0.3f, 0.2f, 0.0f}).view({1, 1, 5});
    const auto weights = [&](const Pruning& pruning) {
        const at::Tensor w = pruned_weights(pruning, received, 5, 1, 1).flatten();
        return std::vector<float>(w.const_data_ptr<float>(), w.const_data_ptr<float>() + 5);
    };
    CHECK(weights({}) == std::vector<float>{1, 1, 1, 1, 1});
    CHECK(weights({PruningKind::window, 2}) == std::vector<float>{0, 0, 0, 1, 1});
    CHECK(weights({PruningKind::window, 9}) == std::vector<float>{1, 1, 1, 1, 1});
    CHECK(weights({PruningKind::heavy, 3}) == std::vector<float>{1, 0, 1, 0, 1});
    CHECK(weights({PruningKind::heavy, 1}) == std::vector<float>{0, 0, 0, 0, 1});
    CHECK(weights({PruningKind::mass_weighted}) == std::vector<float>{0.5f, 0.1f, 0.3f, 0.2f, 1});
    for (const char* name : {"none", "window:8", "heavy:64", "mass-weighted"})
        CHECK(to_string(pruning_from(name)) == name);
    for (const char* wrong : {"", "window", "window:", "window:0", "window:x", "heavy:-1", "none:3", "mass-weighted:2",
                              "window:99999999999999999999"})
        CHECK_THROWS_AS(pruning_from(wrong), InputError);
}

TEST_CASE("pruned states: all kept they are the full ones; a window's and the heavy hitters' by their definitions") {
    const AnomalyChoice choice{{.kind = PhiKind::elu1}, StateForm::read_out, DetectorKind::mahalanobis};
    AnomalyFit fit(shared_model().config(), choice);
    at::manual_seed(1);
    for (int i = 0; i < 40; ++i) fit.add(at::randn({4, 30, 9, 64}));
    fit.fit_moments();
    for (int i = 0; i < 6; ++i) fit.calibrate(at::randn({4, 30, 9, 64}));
    const auto reference = fit.finish();
    const std::vector<TokenId> ids = first_ids(20);
    KvCache cache = shared_model().make_cache(20);
    const StateRows rows = shared_model().prefill(cache, ids).rows;
    const at::Tensor query = shared_model().queries(rows, ids);
    const auto pruned = [&](const Pruning& pruning, int64_t piece) {
        PrunedStates states(reference, pruning);
        std::vector<at::Tensor> parts;
        for (int64_t first = 0; first < 20; first += piece) {
            const int64_t n = std::min(piece, 20 - first);
            parts.push_back(states
                                .next(shared_model(), rows.slice(first, n),
                                      std::span(ids).subspan(static_cast<size_t>(first), static_cast<size_t>(n)),
                                      rows.key.slice(0, 0, first + n), rows.value.slice(0, 0, first + n))
                                .values);
        }
        return at::cat(parts);
    };
    FormStream stream = reference->stream();
    const at::Tensor full = stream.next(query, rows.key, rows.value).values;
    for (const Pruning& all : {Pruning{PruningKind::window, 20}, Pruning{PruningKind::heavy, 20}})
        CHECK(difference(pruned(all, 7), full) < 1e-4);
    // A window of one token reads that token's value.
    const at::Tensor last = pruned({PruningKind::window, 1}, 20);
    CHECK(difference(last.select(2, 4), rows.value.select(2, 1)) < 1e-4);

    const at::Tensor heavy = pruned({PruningKind::heavy, 5}, 6), weighted = pruned({PruningKind::mass_weighted}, 20);
    CHECK(difference(heavy, pruned({PruningKind::heavy, 5}, 20)) < 1e-4);
    const auto at_token = [&](int64_t token, int64_t layer, int64_t kv) {
        const at::Tensor mass =
            attention_mass(shared_model(), {{ids.begin(), ids.begin() + token + 1}, rows.slice(0, token + 1)})
                .received();
        return mass[layer].slice(0, 3 * kv, 3 * kv + 3).sum(0);  // [token + 1]
    };
    for (const auto& [token, layer, head] : {std::tuple<int64_t, int64_t, int64_t>{12, 5, 4}, {19, 20, 8}}) {
        const int64_t kv = head / 3;
        const at::Tensor mass = at_token(token, layer, kv);
        const at::Tensor keys = rows.key.slice(0, 0, token + 1).select(1, layer).select(1, kv).to(at::kDouble);
        const at::Tensor q = at::elu(query[token][layer][head].to(at::kDouble)) + 1;
        const at::Tensor similarity = (at::elu(keys) + 1).mv(q);
        const at::Tensor values = rows.value.slice(0, 0, token + 1).select(1, layer).select(1, kv).to(at::kDouble);
        at::Tensor kept = at::zeros({token + 1}, at::kDouble), by_mass = mass.to(at::kDouble).clone();
        kept.index_fill_(0, std::get<1>(mass.slice(0, 0, token).topk(4)), 1);
        kept[token] = 1, by_mass[token] = 1;
        for (const auto& [w, found] : {std::pair{kept, heavy}, std::pair{by_mass, weighted}}) {
            const at::Tensor share = similarity * w / (similarity * w).sum();
            CHECK(difference(found[token][layer][head], values.t().mv(share)) < 1e-3);
        }
    }
    CHECK_THROWS_AS(PrunedStates(reference, {PruningKind::window, 0}), InputError);
    PrunedStates states(reference, {PruningKind::window, 4});
    CHECK_THROWS_AS(states.next(shared_model(), rows, ids, rows.key.slice(0, 1), rows.value), InputError);
}
