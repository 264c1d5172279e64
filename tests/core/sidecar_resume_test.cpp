// What a decoded, edited state does in the model. A full-rank sidecar leaves the model's next-token distribution as it
// was, at every group; an edit moves it by more than the codec's own error.

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/latent_edit.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kGroupSize = 2;  // a full-rank basis of four blocks takes seconds to find, of two it does not
constexpr int64_t kPosition = 20;  // of the edited token, in a path of kPosition + 1

std::vector<TokenId> text_ids() {
    static const std::string text =
        "The lighthouse keeper had lived alone on the island for thirty years, and every evening he climbed the stairs "
        "to "
        "light the lamp. One night a ship came so close that he could hear the sailors singing, and he put down his "
        "book. "
        "In the morning there was a letter at his door, written in a hand that he knew from long ago.";
    return shared_tokenizer().encode(text);
}

StateRows forward(const std::vector<TokenId>& ids) {
    ForwardOptions options;
    options.logits = Logits::none;
    return shared_model().forward_batch({ids}, options).rows;
}

std::shared_ptr<const Sidecar> fitted(PcaSettings settings) {
    PcaFit fit(shared_model().config(), settings);
    const auto ids = text_ids();
    fit.add(forward(ids).slice(4, static_cast<int64_t>(ids.size()) - 4));
    const PcaFit::Codecs codecs = fit.finish();
    return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, SidecarInfo{});
}

const Sidecar& full() {
    static const auto shared = fitted(full_rank(kGroupSize));
    return *shared;
}

// A path whose last token came through decode(), as the tokens that users edit do.
struct Path {
    Path() : ids(text_ids()) {
        ids.resize(kPosition + 1);
        before = shared_model().make_cache(64);
        const std::span<const TokenId> all(ids);
        shared_model().prefill(*before, all.first(kPosition), {});
        KvCache cache = before->repeat(1, 1);
        last = shared_model().decode(cache, ids.back(), {});
    }

    at::Tensor from_saved(const RowEdit& edit) const {
        KvCache cache = before->repeat(1, 1);
        return shared_model().decode_from_saved(cache, ids.back(), last.rows, edit, {}).logits;
    }

    at::Tensor from_start(const RowEdit& edit) const {
        KvCache cache = before->repeat(1, 1);
        ForwardOptions options;
        options.edit = &edit;
        return shared_model().decode(cache, ids.back(), options).logits;
    }

    std::vector<TokenId> ids;
    std::optional<KvCache> before;
    ForwardOutput last;
};

const Path& path() {
    static const Path shared;
    return shared;
}

TouchedGroup touch(int64_t group, bool hidden, bool kv) {
    const LayerGroup& blocks = full().hidden().groups()[static_cast<size_t>(group)];
    std::vector<int64_t> of_kv;
    for (int64_t block = blocks.first_block; kv && block <= blocks.last_block; ++block) of_kv.push_back(block);
    return {group, hidden, kv, of_kv};
}

LatentEdit to_zero(LatentPart part, int64_t group, int64_t block = -1) {
    LatentEdit edit;
    edit.kind = EditKind::zero;
    edit.part = part;
    edit.group = group;
    edit.block = block;
    edit.first_token = edit.last_token = kPosition;
    return edit;
}

// KL(control || edited) with the codec's own error beside it, KL(exact || control).
struct Effect {
    double control, edited;
};

Effect effect_of(const LatentEdit& edit) {
    const Latent z = full().encode(path().last.rows);
    const Latent changed = apply_edits(full(), z, kPosition, {edit}, {});
    const auto groups = touched(full(), {edit}, kPosition);
    const at::Tensor control = path().from_saved(decode_row(full(), z, 0, kPosition, groups));
    const at::Tensor edited = path().from_saved(decode_row(full(), changed, 0, kPosition, groups));
    return {kl_divergence(path().last.logits, control).item<double>(), kl_divergence(control, edited).item<double>()};
}

}  // namespace

TEST_CASE("a full-rank unedited resume equals the exact run at every group") {
    const Latent z = full().encode(path().last.rows);
    for (int64_t group = 0; group < static_cast<int64_t>(full().hidden().groups().size()); ++group) {
        for (const auto& [hidden, kv] : {std::pair{true, false}, {false, true}, {true, true}}) {
            CAPTURE(group);
            CAPTURE(hidden);
            CAPTURE(kv);
            const RowEdit row = decode_row(full(), z, 0, kPosition, {touch(group, hidden, kv)});
            CHECK(largest_difference(path().from_saved(row), path().last.logits) < 1e-3);
            CHECK(largest_difference(path().from_start(row), path().last.logits) < 1e-3);
        }
    }
}

TEST_CASE("an edit of any group's hidden part moves the next-token distribution") {
    for (int64_t group = 0; group < static_cast<int64_t>(full().hidden().groups().size()); ++group) {
        const Effect effect = effect_of(to_zero(LatentPart::hidden, group));
        CAPTURE(group);
        CHECK(effect.control < 1e-6);
        CHECK(effect.edited > 1e-3);
        CHECK(effect.edited > 100 * effect.control);
    }
}

TEST_CASE("an edit of any block's keys or values moves the next-token distribution") {
    for (int64_t block = 0; block < shared_model().config().layers; ++block) {
        for (const LatentPart part : {LatentPart::key, LatentPart::value}) {
            LatentEdit edit = to_zero(part, full().group_of_block(block), block);
            // Far from the mean: a token's own key is one of twenty that it attends to.
            edit.kind = EditKind::noise;
            edit.amount = 4;
            const Effect effect = effect_of(edit);
            CAPTURE(block);
            CAPTURE(to_string(part));
            CHECK(effect.control < 1e-6);
            CHECK(effect.edited > 1e-6);
            CHECK(effect.edited > 10 * effect.control);
        }
    }
}

TEST_CASE("resuming on a full-rank sidecar's keys and values is the exact run; on a coarse one it is measured") {
    const auto ids = text_ids();
    const std::vector<TokenId> tokens(ids.begin(), ids.begin() + 60);
    const ResumeFidelity exact = resume_fidelity(shared_model(), full(), tokens, 40);
    CHECK(exact.prefix == 40);
    CHECK(exact.tokens == 20);
    CHECK(exact.kl_nats < 1e-6);
    CHECK(exact.kl_p95 < 1e-5);
    CHECK(exact.top1_agreement == 1);
    CHECK(std::abs(exact.delta_nll) < 1e-4);
    PcaSettings coarse;
    coarse.group_size = 1;
    coarse.hidden_components = coarse.key_components = coarse.value_components = 8;
    coarse.bits = 4;
    const ResumeFidelity lossy = resume_fidelity(shared_model(), *fitted(coarse), tokens, 40);
    CHECK(lossy.kl_nats > 1e-3);
    CHECK(lossy.kl_p95 >= lossy.kl_nats / 20);
    CHECK(lossy.top1_agreement <= 1);
    const ResumeFidelity beside = resume_fidelity(shared_model(), *fitted(coarse), tokens, 40, forward(tokens));
    CHECK(beside.kl_nats == doctest::Approx(lossy.kl_nats).epsilon(1e-3));
    CHECK(beside.delta_nll == doctest::Approx(lossy.delta_nll).epsilon(1e-3));
    CHECK(beside.prefix == 40);
    CHECK_THROWS_AS(resume_fidelity(shared_model(), full(), tokens, 40, forward(text_ids()).slice(0, 59)), InputError);
    CHECK_THROWS_AS(resume_fidelity(shared_model(), full(), tokens, 60), InputError);
    CHECK_THROWS_AS(resume_fidelity(shared_model(), full(), tokens, 0), InputError);
    CHECK_THROWS_AS(resume_fidelity(shared_model(), full(), tokens, 40, [](double) { return false; }), Cancelled);
}
