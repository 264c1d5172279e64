#include "core/analysis/state_forms.h"
#include "core/analysis/attention_capture.h"
#include "core/analysis/drift.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

std::shared_ptr<const Phi> phi_of(PhiKind kind, bool rotary = false) {
    PhiSettings settings;
    settings.kind = kind;
    settings.rotary = rotary;
    return std::make_shared<const Phi>(settings, 64);
}

StateRun prefilled(const std::vector<TokenId>& ids) {
    KvCache cache = shared_model().make_cache(static_cast<int64_t>(ids.size()));
    return {ids, shared_model().prefill(cache, ids).rows};
}

StateRun prefilled(const std::string& text) { return prefilled(shared_tokenizer().encode(text)); }

std::shared_ptr<const DriftScale> shared_scale() {
    static const auto scale = [] {
        DriftScaleFit fit(shared_model(), unrelated_texts(shared_tokenizer(), 4, 32), phi_of(PhiKind::elu1), nullptr);
        while (fit.step()) {
        }
        return fit.result();
    }();
    return scale;
}

Drift compared(const StateRun& a, const StateRun& b, double band = 0.05) {
    DriftSettings settings;
    settings.band = band;
    Drift drift(shared_model(), a, b, align(a.ids, b.ids), shared_scale(), nullptr, settings);
    while (drift.step()) {
    }
    REQUIRE(drift.maps().size() == 4);
    return drift;
}

float at_cell(const DriftMap& map, int64_t pair, int64_t row, int64_t head = 0) {
    return map.distance[static_cast<size_t>((pair * map.rows + row) * map.heads + head)];
}

const DriftMap& part_of(const Drift& drift, DriftPart part) {
    for (const DriftMap& map : drift.maps())
        if (map.part == part) return map;
    FAIL("no such part");
    return drift.maps().front();
}

StateRun copy_of(const StateRun& run) {
    return {run.ids, {run.rows.hidden.clone(), run.rows.key.clone(), run.rows.value.clone(), {}}};
}

float typical(DriftPart part, int64_t position, int64_t row, int64_t head = 0) {
    return shared_scale()->part(part).typical[DriftScale::bucket(position)][row][head].item<float>();
}

// S_t / n_t of one head by its definition, in float64.
// The features of a key, by their formulas.
at::Tensor features_by_definition(PhiKind kind, const at::Tensor& k) {
    switch (kind) {
        case PhiKind::elu1:
            return at::elu(k) + 1;
        case PhiKind::relu:
            return at::relu(k);
        case PhiKind::exp:
            return at::exp(k);
        default:
            return k;
    }
}

// S_t / n_t row by row; identity: S_t / t; a feature that was never met: 0.
at::Tensor state_by_definition(const StateRows& rows, int64_t layer, int64_t head, int64_t token,
                               PhiKind kind = PhiKind::elu1) {
    at::Tensor s = at::zeros({64, 64}, at::kDouble), n = at::zeros({64}, at::kDouble);
    for (int64_t i = 0; i <= token; ++i) {
        const at::Tensor k = features_by_definition(kind, rows.key[i][layer][head].to(at::kDouble));
        s += at::outer(k, rows.value[i][layer][head].to(at::kDouble));
        n += k;
    }
    if (kind == PhiKind::identity) return s / static_cast<double>(token + 1);
    return at::where(n.unsqueeze(1) > 0, s / n.unsqueeze(1), at::zeros_like(s));
}

}  // namespace

TEST_CASE("drift: a run does not drift from itself") {
    const StateRun run = prefilled("The sea is blue because water absorbs red light.");
    const Drift drift = compared(run, run, 0);
    for (const DriftMap& map : drift.maps()) {
        CHECK(*std::max_element(map.distance.begin(), map.distance.end()) == 0);
        CHECK_FALSE(map.first.has_value());
    }
}

TEST_CASE("drift: a changed hidden state is found where it is, as far away as it was moved") {
    const StateRun a = prefilled("The sea is blue because water absorbs red light.");
    StateRun b = copy_of(a);
    b.rows.hidden[5][7] += 3;  // by 3 * sqrt(576)
    const Drift drift = compared(a, b);
    const DriftMap& hidden = part_of(drift, DriftPart::hidden);
    REQUIRE(hidden.first.has_value());
    CHECK(hidden.first->pair == 5);
    CHECK(hidden.first->row == 7);
    CHECK(hidden.first->distance == doctest::Approx(72 / typical(DriftPart::hidden, 5, 7)).epsilon(1e-4));
    CHECK(at_cell(hidden, 5, 8) == 0);
    CHECK_FALSE(part_of(drift, DriftPart::value).first.has_value());
    CHECK_FALSE(first_drift(hidden, drift.alignment().pairs, 1e6, 0).has_value());
    CHECK_FALSE(first_drift(hidden, drift.alignment().pairs, 0.05, 6).has_value());
}

TEST_CASE("drift: a changed value is found in its head, and stays in the linear-attention state") {
    const StateRun a = prefilled("The sea is blue because water absorbs red light.");
    StateRun b = copy_of(a);
    b.rows.value[3][11][2] += 2;
    const Drift drift = compared(a, b, 1e-4);
    const DriftMap &value = part_of(drift, DriftPart::value), &state = part_of(drift, DriftPart::attention_state);
    for (const DriftMap* map : {&value, &state}) {
        REQUIRE(map->first.has_value());
        CHECK(map->first->pair == 3);
        CHECK(map->first->row == 11);
        CHECK(map->first->head == 2);
    }
    CHECK(at_cell(value, 4, 11, 2) == 0);
    CHECK(at_cell(value, 3, 11, 1) == 0);
    for (const int64_t token : {3, 4, 9}) {
        const double apart = (state_by_definition(a.rows, 11, 2, token) - state_by_definition(b.rows, 11, 2, token))
                                 .norm()
                                 .item<double>();
        CHECK(at_cell(state, token, 11, 2) ==
              doctest::Approx(apart / typical(DriftPart::attention_state, token, 11, 2)).epsilon(1e-3));
    }
}

TEST_CASE("drift: states are summed up over more than a chunk") {
    std::vector<TokenId> ids = first_ids(40);
    ids.insert(ids.end(), ids.begin(), ids.end());
    ids.insert(ids.end(), ids.begin(), ids.begin() + 60);
    const StateRun run = prefilled(ids);
    const PartReader reader(shared_model(), run, phi_of(PhiKind::elu1), nullptr);
    const std::vector<int64_t> positions{0, 63, 64, 100, 139};
    const at::Tensor read = reader.read(DriftPart::attention_state, 4, positions);
    for (size_t i = 0; i < positions.size(); ++i) {
        const at::Tensor expected = state_by_definition(run.rows, 4, 1, positions[i]).flatten();
        CHECK(largest_difference(read[static_cast<int64_t>(i)][1].to(at::kDouble), expected) < 2e-4f);
    }
}

TEST_CASE(
    "drift: states of other phi by their definitions; a learned one and FAVOR+ as the states of experiments are") {
    std::vector<TokenId> ids = first_ids(40);
    ids.insert(ids.end(), ids.begin(), ids.end());
    const StateRun run = prefilled(ids);
    const std::vector<int64_t> positions{0, 3, 63, 64, 79};
    for (const PhiKind kind : {PhiKind::identity, PhiKind::relu, PhiKind::exp}) {
        const at::Tensor read =
            PartReader(shared_model(), run, phi_of(kind), nullptr).read(DriftPart::attention_state, 7, positions);
        for (size_t i = 0; i < positions.size(); ++i) {
            const at::Tensor expected = state_by_definition(run.rows, 7, 1, positions[i], kind).flatten();
            const double scale = std::max(1.0, expected.abs().max().item<double>());
            INFO(to_string(kind), " at ", positions[i]);
            CHECK(largest_difference(read[static_cast<int64_t>(i)][1].to(at::kDouble), expected) / scale < 1e-4);
        }
    }
    at::manual_seed(5);
    const auto learned = std::make_shared<const Phi>(
        Phi::hedgehog({}, at::randn({30, 9, 64, 64}) * 0.05, at::randn({30, 3, 64, 64}) * 0.05));
    for (const auto& phi : {learned, phi_of(PhiKind::favor), phi_of(PhiKind::dpfp)}) {
        const at::Tensor read = PartReader(shared_model(), run, phi, nullptr).read(DriftPart::attention_state, 7, {64});
        PhiState state;
        state.phi = phi;
        state.add(run.rows.key.slice(0, 0, 65), run.rows.value.slice(0, 0, 65));
        const at::Tensor expected = form_values(StateForm::rows, state).values[7];
        INFO(to_string(phi->settings().kind));
        CHECK(largest_difference(read[0], expected.reshape(read[0].sizes())) < 2e-3f);
    }
    // After rotary embedding: the keys that the model's own attention turns.
    AttentionCapture capture(shared_model(), true);
    StateRows turned = run.rows;
    turned.key = capture.run({ids}).front().key;
    const at::Tensor after = PartReader(shared_model(), run, phi_of(PhiKind::elu1, true), nullptr)
                                 .read(DriftPart::attention_state, 7, positions);
    for (size_t i = 0; i < positions.size(); ++i)
        CHECK(largest_difference(after[static_cast<int64_t>(i)][1].to(at::kDouble),
                                 state_by_definition(turned, 7, 1, positions[i]).flatten()) < 5e-4f);
}

TEST_CASE("drift: the same text computed two ways stays within the band, unrelated texts are about 1 apart") {
    const auto texts = unrelated_texts(shared_tokenizer(), 6, 32);
    const StateRun a = prefilled(texts[4]), other = prefilled(texts[5]);
    StateRun decoded{a.ids, {}};
    KvCache cache = shared_model().make_cache(32);
    std::vector<StateRows> rows;
    for (const TokenId id : a.ids) rows.push_back(shared_model().decode(cache, id).rows);
    decoded.rows = concat(rows);
    const Drift again = compared(a, decoded, 0);
    for (const DriftMap& map : again.maps()) {
        INFO(to_string(map.part));
        CHECK_FALSE(map.first.has_value());
        CHECK(map.noise > 0);
        CHECK(map.noise < 0.02f);
    }
    // As if both were of the same tokens.
    DriftSettings settings;
    Alignment by_position;
    for (int64_t i = 0; i < 32; ++i) by_position.pairs.push_back({i, i, true});
    Drift apart(shared_model(), a, other, by_position, shared_scale(), nullptr, settings);
    while (apart.step()) {
    }
    for (const DriftMap& map : apart.maps()) {
        std::vector<float> sorted = map.distance;
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2), sorted.end());
        INFO(to_string(map.part));
        CHECK(sorted[sorted.size() / 2] > 0.7f);
        CHECK(sorted[sorted.size() / 2] < 1.4f);
    }
}

TEST_CASE("drift: a replaced word is not itself the first drift, the token after it is") {
    const StateRun a = prefilled("The capital of France is the city of"),
                   b = prefilled("The capital of Germany is the city of");
    const Drift drift = compared(a, b);
    const auto& pairs = drift.alignment().pairs;
    const DriftMap& hidden = part_of(drift, DriftPart::hidden);
    REQUIRE(hidden.first.has_value());
    const int64_t replaced = drift.alignment().shared;
    CHECK_FALSE(pairs[static_cast<size_t>(replaced)].same);
    CHECK(at_cell(hidden, replaced, 5) > 0.3f);
    CHECK(hidden.first->pair == replaced + 1);
    for (int64_t pair = 0; pair < replaced; ++pair) CHECK(at_cell(hidden, pair, 29) < 1e-3f);
}

TEST_CASE("drift: what cannot be compared is refused with the reason") {
    const StateRun a = prefilled("The sea"), b = prefilled("Numbers");
    CHECK_THROWS_WITH_AS(Drift(shared_model(), a, b, align(a.ids, b.ids), shared_scale(), nullptr, {}),
                         "drift: the two runs have no token in common to compare", InputError);
    StateRun missing = a;
    missing.rows.hidden = at::Tensor();
    CHECK_THROWS_AS(Drift(shared_model(), a, missing, align(a.ids, a.ids), shared_scale(), nullptr, {}), InputError);
    CHECK_THROWS_AS(DriftScaleFit(shared_model(), {{1, 2, 3}}, phi_of(PhiKind::elu1), nullptr), InputError);
    CHECK_THROWS_AS(shared_scale()->part(DriftPart::latent), InputError);
}
