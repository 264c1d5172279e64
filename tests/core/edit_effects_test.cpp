// Which components of z act by more than the codec's own error: against the latent editor's own path, edit by edit.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/edit_effects.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/latent_edit.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

std::vector<std::vector<TokenId>> sequences() {
    const std::vector<TokenId> ids = shared_tokenizer().encode(
        "The lighthouse keeper had lived alone on the island for thirty years, and every evening he climbed the stairs "
        "to "
        "light the lamp. One night a ship came so close that he could hear the sailors singing, and he put down his "
        "book. "
        "In the morning there was a letter at his door, written in a hand that he knew from long ago.");
    const auto part = [&](size_t first) {
        return std::vector<TokenId>(ids.begin() + static_cast<std::ptrdiff_t>(first),
                                    ids.begin() + static_cast<std::ptrdiff_t>(first + 16));
    };
    return {part(0), part(16), part(32), part(48)};
}

std::shared_ptr<const Sidecar> sidecar(PcaSettings settings) {
    PcaFit fit(shared_model().config(), settings);
    ForwardOptions options;
    options.logits = Logits::none;
    fit.add(shared_model().forward_batch(sequences(), options).rows);
    const PcaFit::Codecs codecs = fit.finish();
    SidecarInfo info;
    info.model_sha256 = shared_weights()->sha256();
    return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, info);
}

std::shared_ptr<const Sidecar> coarse() {
    PcaSettings settings = full_rank(2);
    settings.hidden_components = 3;
    settings.key_components = settings.value_components = 2;
    static const auto shared = sidecar(settings);
    return shared;
}

std::vector<SlotEffect> measured(std::shared_ptr<const Sidecar> of, EditEffectSettings settings) {
    EditEffects job(shared_model(), std::move(of), sequences(), settings);
    double before = -1;
    while (!job.done()) {
        CHECK(job.progress() > before);
        before = job.progress();
        job.step();
    }
    CHECK(job.progress() == doctest::Approx(1));
    return job.effects();
}

// One token of one sequence, decoded by the latent editor's functions.
struct Editor {
    Editor(const Sidecar& sidecar, std::vector<TokenId> ids, int64_t position)
        : sidecar(sidecar),
          position(position),
          token(ids[static_cast<size_t>(position)]),
          cache(shared_model().make_cache(64)) {
        rows = shared_model().prefill(cache, ids).rows;
        z = sidecar.encode(rows.slice(position, 1));
        exact = shared_model().unembed(rows.hidden[position][shared_model().config().layers - 1]);
    }

    // KL(exact || control) and KL(control || edited) of moving one component by `deviations`.
    std::pair<double, double> moved(const SlotEffect& slot, int64_t component, double deviations) {
        const bool hidden = slot.part == LatentPart::hidden, key = slot.part == LatentPart::key;
        const KvCodec& kv = sidecar.kv();
        const at::Tensor mean = hidden ? sidecar.hidden().component_mean()[slot.group]
                                       : (key ? kv.key_mean() : kv.value_mean())[slot.block];
        const at::Tensor std =
            hidden ? sidecar.hidden().component_std()[slot.group] : (key ? kv.key_std() : kv.value_std())[slot.block];
        const at::Tensor now = hidden ? z.hidden[0][slot.group] : (key ? z.key : z.value)[0][slot.block];
        LatentEdit edit;
        edit.part = slot.part;
        edit.group = slot.group;
        edit.block = slot.block;
        edit.component = component;
        edit.first_token = edit.last_token = position;
        edit.amount = ((now[component] - mean[component]) / std[component]).item<double>() + deviations;
        const auto groups = touched(sidecar, {edit}, position);
        const at::Tensor control = run(decode_row(sidecar, z, 0, position, groups));
        const at::Tensor after =
            run(decode_row(sidecar, apply_edits(sidecar, z, position, {edit}, {}), 0, position, groups));
        return {kl_divergence(exact, control).item<double>(), kl_divergence(control, after).item<double>()};
    }

    at::Tensor run(const RowEdit& edit) {
        cache.truncate(position);
        ForwardOptions options;
        options.edit = &edit;
        return shared_model().decode_from_saved(cache, token, rows.slice(position, 1), edit, options).logits[0];
    }

    const Sidecar& sidecar;
    int64_t position;
    TokenId token;
    KvCache cache;
    StateRows rows;
    Latent z;
    at::Tensor exact;
};

}  // namespace

TEST_CASE("edit effects: each is what the latent editor's own path shows, up at one token and down at the next") {
    EditEffectSettings settings;
    settings.control_tokens = 3;
    settings.edited_tokens = 2;
    const std::vector<SlotEffect> effects = measured(coarse(), settings);
    const int64_t layers = shared_model().config().layers;
    REQUIRE(effects.size() == static_cast<size_t>(layers / 2 + 2 * layers));

    // 24 tokens of two sequences, 12 each, the last first: the middles of their halves are token 9 of both.
    Editor up(*coarse(), sequences()[2], 9), down(*coarse(), sequences()[3], 9);
    const size_t first_key = static_cast<size_t>(layers / 2), first_value = first_key + static_cast<size_t>(layers);
    for (const size_t slot :
         {size_t{0}, size_t{7}, first_key - 1, first_key, first_key + 12, first_value, first_value + 29}) {
        const SlotEffect& effect = effects[slot];
        CAPTURE(to_string(effect.part));
        CAPTURE(effect.group);
        for (int64_t c = 0; c < static_cast<int64_t>(effect.effects.size()); ++c) {
            const auto [control_up, edited_up] = up.moved(effect, c, settings.move);
            const auto [control_down, edited_down] = down.moved(effect, c, -settings.move);
            CHECK(effect.effects[static_cast<size_t>(c)] ==
                  doctest::Approx((edited_up + edited_down) / 2).epsilon(0.01).scale(1e-4));
            const int within = (control_up <= effect.control_p95) + (control_down <= effect.control_p95);
            CHECK(effect.control_within == within / 2.0);
        }
    }
}

TEST_CASE("edit effects: the noise is the 95th percentile of the controls at the first half's tokens") {
    EditEffectSettings settings;
    settings.control_tokens = 2;
    settings.edited_tokens = 1;
    const std::vector<SlotEffect> effects = measured(coarse(), settings);
    Editor one(*coarse(), sequences()[0], 9), other(*coarse(), sequences()[1], 9);
    for (const size_t slot : {size_t{3}, size_t{20}, size_t{60}}) {
        const double larger = std::max(one.moved(effects[slot], 0, 0).first, other.moved(effects[slot], 0, 0).first);
        CHECK(effects[slot].control_p95 == doctest::Approx(larger).epsilon(0.01).scale(1e-4));
    }
}

TEST_CASE("edit effects: no move has none, and a codec without error lets every component show") {
    EditEffectSettings settings;
    settings.control_tokens = 4;
    settings.edited_tokens = 1;
    settings.move = 0;
    for (const SlotEffect& effect : measured(coarse(), settings)) {
        CHECK(effect.above() == 0);
        CHECK(*std::max_element(effect.effects.begin(), effect.effects.end()) < 1e-5);
    }
    SlotEffect made_up{LatentPart::hidden, 0, -1, 0.5, 1, {0.4, 0.5, 0.6, 3}};
    CHECK(made_up.above() == 2);
}

TEST_CASE("edit effects: the 95th percentile is the nearest rank") {
    std::vector<double> hundred;
    for (int i = 100; i > 0; --i) hundred.push_back(i);
    CHECK(percentile_95(hundred) == 95);
    CHECK(percentile_95({3, 1}) == 3);
    CHECK(std::isnan(percentile_95({})));
}

TEST_CASE("edit effects: another model's sidecar and texts too short are refused") {
    const auto foreign =
        std::make_shared<Sidecar>(std::shared_ptr<const HiddenCodec>(coarse(), &coarse()->hidden()),
                                  std::shared_ptr<const KvCodec>(coarse(), &coarse()->kv()), SidecarInfo{});
    CHECK_THROWS_AS(EditEffects(shared_model(), foreign, sequences(), {}), InputError);
    CHECK_THROWS_AS(EditEffects(shared_model(), coarse(), {sequences()[0]}, {}), InputError);
    CHECK_THROWS_AS(EditEffects(shared_model(), coarse(), {sequences()[0], {1, 2, 3, 4}}, {}), InputError);
    EditEffectSettings none;
    none.edited_tokens = 0;
    CHECK_THROWS_AS(EditEffects(shared_model(), coarse(), sequences(), none), InputError);
}
