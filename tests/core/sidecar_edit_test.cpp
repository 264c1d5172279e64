// Latent edits against hand computation, and what they touch.

#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/latent_edit.h"
#include "core/sidecar/noise.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

// Groups: blocks 0-1, 2-3, 4; hidden 7, key 5, value 6 components.
const Sidecar& sidecar() {
    static const auto shared = default_small_sidecar();
    return *shared;
}

Latent latent() { return sidecar().encode(random_rows(6, 8)); }
Latent other() { return sidecar().encode(random_rows(1, 77)); }

const SourceLatent kOther = [](int64_t, int64_t) { return other(); };

// Tokens 10..15 are there.
Latent applied(const LatentEdit& edit) { return apply_edits(sidecar(), latent(), 10, {edit}, kOther); }

LatentEdit edit_of(EditKind kind, LatentPart part, int64_t component, double amount = 0) {
    LatentEdit edit;
    edit.kind = kind;
    edit.part = part;
    edit.first_token = 12;
    edit.last_token = 13;
    edit.group = 1;
    edit.component = component;
    edit.amount = amount;
    return edit;
}

// How many values differ from the unedited z, in each part.
std::array<int64_t, 3> changed(const Latent& edited) {
    const Latent before = latent();
    const auto count = [](const at::Tensor& a, const at::Tensor& b) { return (a != b).sum().item<int64_t>(); };
    return {count(before.hidden, edited.hidden), count(before.key, edited.key), count(before.value, edited.value)};
}

}  // namespace

TEST_CASE("set gives one component so many standard deviations") {
    const Latent edited = applied(edit_of(EditKind::set, LatentPart::hidden, 3, 2.5));
    CHECK(changed(edited) == std::array<int64_t, 3>{2, 0, 0});
    const float expected = 2.5f * sidecar().hidden().component_std()[1][3].item<float>();
    CHECK(edited.hidden[2][1][3].item<float>() == doctest::Approx(expected));
    CHECK(edited.hidden[3][1][3].item<float>() == doctest::Approx(expected));
    LatentEdit of_block = edit_of(EditKind::set, LatentPart::key, 4, -1);
    of_block.block = 3;
    CHECK(changed(applied(of_block)) == std::array<int64_t, 3>{0, 2, 0});
    CHECK(applied(of_block).key[2][3][4].item<float>() ==
          doctest::Approx(-sidecar().kv().key_std()[3][4].item<float>()));
    of_block.block = -1;
    CHECK(changed(applied(of_block)) == std::array<int64_t, 3>{0, 4, 0});
    CHECK(changed(applied(edit_of(EditKind::set, LatentPart::all, 0, 9))) == std::array<int64_t, 3>{2, 4, 4});
}

TEST_CASE("zero and copy") {
    const Latent zeroed = applied(edit_of(EditKind::zero, LatentPart::value, -1));
    CHECK(zeroed.value.slice(0, 2, 4).slice(1, 2, 4).abs().max().item<float>() == 0);
    CHECK(changed(zeroed) == std::array<int64_t, 3>{0, 0, 2 * 2 * 6});
    const Latent copied = applied(edit_of(EditKind::copy, LatentPart::all, -1));
    CHECK(same_bits(copied.hidden[2][1], other().hidden[0][1]));
    CHECK(same_bits(copied.key[3][2], other().key[0][2]));
    CHECK(same_bits(copied.value[3][3], other().value[0][3]));
    CHECK(same_bits(copied.hidden[2][0], latent().hidden[2][0]));
    const Latent one = applied(edit_of(EditKind::copy, LatentPart::hidden, 5));
    CHECK(one.hidden[2][1][5].item<float>() == other().hidden[0][1][5].item<float>());
    CHECK(changed(one) == std::array<int64_t, 3>{2, 0, 0});
}

TEST_CASE("lerp and slerp") {
    for (const EditKind kind : {EditKind::lerp, EditKind::slerp}) {
        const Latent start = applied(edit_of(kind, LatentPart::hidden, -1, 0)),
                     end = applied(edit_of(kind, LatentPart::hidden, -1, 1));
        CHECK(at::allclose(start.hidden, latent().hidden, 1e-5, 1e-6));
        CHECK(at::allclose(end.hidden[2][1], other().hidden[0][1], 1e-5, 1e-6));
    }
    const at::Tensor a = latent().hidden[2][1].to(at::kDouble), b = other().hidden[0][1].to(at::kDouble);
    const at::Tensor line = applied(edit_of(EditKind::lerp, LatentPart::hidden, -1, 0.25)).hidden[2][1];
    CHECK(at::allclose(line.to(at::kDouble), 0.75 * a + 0.25 * b, 1e-5, 1e-6));
    const at::Tensor arc = applied(edit_of(EditKind::slerp, LatentPart::hidden, -1, 0.25)).hidden[2][1].to(at::kDouble);
    // The length goes in a straight line; the angle from a is a quarter of the angle from a to b.
    const auto angle = [](const at::Tensor& x, const at::Tensor& y) {
        return std::acos((at::dot(x, y) / (x.norm() * y.norm())).item<double>());
    };
    CHECK(arc.norm().item<double>() ==
          doctest::Approx(0.75 * a.norm().item<double>() + 0.25 * b.norm().item<double>()));
    CHECK(angle(a, arc) == doctest::Approx(0.25 * angle(a, b)).epsilon(1e-4));
    CHECK(angle(arc, b) == doctest::Approx(0.75 * angle(a, b)).epsilon(1e-4));
}

TEST_CASE("slerp between opposite or vanishing directions is a straight line") {
    for (const double factor : {-1.0, 0.0, 3.0}) {
        const SourceLatent scaled = [&](int64_t, int64_t) {
            Latent from = latent().slice(2, 1).clone();
            from.hidden.mul_(factor);
            return from;
        };
        const Latent edited =
            apply_edits(sidecar(), latent(), 10, {edit_of(EditKind::slerp, LatentPart::hidden, -1, 0.5)}, scaled);
        CHECK(at::allclose(edited.hidden[2][1], latent().hidden[2][1] * (1 + factor) / 2, 1e-4, 1e-5));
    }
}

TEST_CASE("noise is a function of seed, token and component") {
    LatentEdit edit = edit_of(EditKind::noise, LatentPart::hidden, -1, 0.5);
    edit.seed = 42;
    const Latent a = applied(edit);
    CHECK(same_bits(a.hidden, applied(edit).hidden));
    CHECK_FALSE(at::equal(a.hidden[2][1] - latent().hidden[2][1], a.hidden[3][1] - latent().hidden[3][1]));
    LatentEdit alone = edit;
    alone.component = 4;
    alone.first_token = 13;
    CHECK(applied(alone).hidden[3][1][4].item<float>() == a.hidden[3][1][4].item<float>());
    alone.seed = 43;
    CHECK(applied(alone).hidden[3][1][4].item<float>() != a.hidden[3][1][4].item<float>());
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 20000; ++i) {
        const double x = keyed_normal({7, i, 3});
        sum += x;
        squares += x * x;
    }
    CHECK(std::abs(sum / 20000) < 0.03);
    CHECK(squares / 20000 == doctest::Approx(1).epsilon(0.04));
}

TEST_CASE("edits are applied in order, on a copy") {
    const Latent before = latent(), kept = before.clone();
    const auto set = [](double amount) { return edit_of(EditKind::set, LatentPart::hidden, 0, amount); };
    const Latent edited = apply_edits(sidecar(), before, 10, {set(1), set(3)}, kOther);
    CHECK(edited.hidden[2][1][0].item<float>() ==
          doctest::Approx(3 * sidecar().hidden().component_std()[1][0].item<float>()));
    CHECK(same_bits(before.hidden, kept.hidden));
}

TEST_CASE("what is not there is refused, by name") {
    const auto refused = [](std::function<void(LatentEdit&)> change, const std::string& field,
                            EditKind kind = EditKind::set, int64_t component = 0) {
        LatentEdit edit = edit_of(kind, LatentPart::hidden, component, 1);
        change(edit);
        CAPTURE(field);
        try {
            applied(edit);
            FAIL("was accepted");
        } catch (const InputError& error) {
            CHECK(std::string(error.what()).find(field) != std::string::npos);
        }
    };
    refused([](LatentEdit& edit) { edit.group = 3; }, "group");
    refused([](LatentEdit& edit) { edit.group = -1; }, "group");
    refused([](LatentEdit& edit) { edit.block = 4; }, "block");
    refused([](LatentEdit& edit) { edit.component = 7; }, "component");
    refused([](LatentEdit& edit) { edit.component = -1; }, "component");
    refused([](LatentEdit& edit) { edit.component = -2; }, "component", EditKind::zero);
    refused([](LatentEdit& edit) { edit.first_token = 9; }, "first_token");
    refused([](LatentEdit& edit) { edit.last_token = 16; }, "last_token");
    refused([](LatentEdit& edit) { edit.last_token = 11; }, "last_token");
    refused([](LatentEdit& edit) { edit.amount = NAN; }, "amount");
    refused([](LatentEdit& edit) { edit.amount = 1e39; }, "edited latent");
    refused([](LatentEdit& edit) { edit.amount = 1.5; }, "amount", EditKind::lerp, -1);
    CHECK_THROWS_AS(apply_edits(sidecar(), latent(), 10, {edit_of(EditKind::copy, LatentPart::hidden, -1)}, {}),
                    InputError);
    Latent no_hidden = latent();
    no_hidden.hidden = at::Tensor();
    CHECK_THROWS_AS(apply_edits(sidecar(), no_hidden, 10, {edit_of(EditKind::zero, LatentPart::hidden, -1)}, kOther),
                    InputError);
}

TEST_CASE("touched groups and the rows that are put in the model's place") {
    LatentEdit hidden = edit_of(EditKind::zero, LatentPart::hidden, -1);
    LatentEdit key = edit_of(EditKind::zero, LatentPart::key, -1), all = edit_of(EditKind::zero, LatentPart::all, -1);
    key.group = 0;
    key.block = 1;
    all.group = 2;
    all.first_token = all.last_token = 15;
    const auto groups = touched(sidecar(), {hidden, key, all}, 12);
    REQUIRE(groups.size() == 2);
    CHECK(groups[0].group == 0);
    CHECK_FALSE(groups[0].hidden);
    CHECK(groups[0].kv);
    CHECK(groups[0].blocks == std::vector<int64_t>{1});
    CHECK(groups[1].group == 1);
    CHECK(groups[1].hidden);
    CHECK_FALSE(groups[1].kv);
    CHECK(touched(sidecar(), {hidden, key, all}, 14).empty());
    CHECK(touched(sidecar(), {all}, 15)[0].blocks == std::vector<int64_t>{4});

    const Latent z = latent();
    const StateRows decoded = sidecar().decode(z);
    const RowEdit row = decode_row(sidecar(), z, 2, 12, groups);
    CHECK(row.position == 12);
    CHECK(row.hidden_block == 3);
    CHECK(at::allclose(row.hidden, decoded.hidden[2][3], 1e-4, 1e-4));
    REQUIRE(row.kv.size() == 1);
    CHECK(row.kv[0].block == 1);
    CHECK(at::allclose(row.kv[0].key, decoded.key[2][1], 1e-4, 1e-5));
    CHECK(at::allclose(row.kv[0].value, decoded.value[2][1], 1e-4, 1e-5));
    CHECK(row.first_affected_block() == 1);
    CHECK(decode_row(sidecar(), z, 2, 12, {}).empty());
    CHECK_THROWS_AS(decode_row(sidecar(), z, 6, 16, groups), InputError);
}

TEST_CASE("edits go through JSON and back") {
    LatentEdit edit = edit_of(EditKind::slerp, LatentPart::value, -1, 0.3);
    edit.seed = 18446744073709551615u;
    edit.source_thought = 4;
    edit.source_token = 9;
    CHECK(nlohmann::json::parse(nlohmann::json(edit).dump()).get<LatentEdit>() == edit);
    const auto refused = [](const char* text) {
        CHECK_THROWS_AS(nlohmann::json::parse(text).get<LatentEdit>(), InputError);
    };
    refused(R"({"kind": "melt"})");
    refused(R"({"part": "soul"})");
    refused(R"({"group": "1"})");
    refused(R"({"group": 1.5})");
    refused(R"({"component": 18446744073709551615})");
    refused(R"({"seed": -1})");
    refused(R"([])");
}
