// One z for hidden states, keys and values: what it decodes, its bytes, and what an edit of it replaces.

#include <ATen/ATen.h>

#include <filesystem>

#include "core/model/error.h"
#include "core/sidecar/block_features.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/latent_edit.h"
#include "core/sidecar/latent_file.h"
#include "tests/core/model_fixture.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4, kLength = 96, kTexts = 20;

struct Text {
    std::vector<TokenId> ids;
    StateRows rows;
};

const std::vector<Text>& texts() {
    static const std::vector<Text> all = [] {
        TokenSplit split =
            split_corpus(fortunes_corpus(), shared_tokenizer(), kLength, kTexts * kLength, 2 * kLength, 3);
        std::vector<Text> out;
        ForwardOptions kept;
        kept.logits = Logits::none;
        for (auto* part : {&split.fit, &split.held_out})
            for (auto& ids : *part) out.push_back({ids, shared_model().forward_batch({ids}, kept).rows});
        return out;
    }();
    return all;
}

const Text& held_out() { return texts().back(); }

std::shared_ptr<const JointCodec> fitted(double ratio, bool gradients, int64_t components = 0) {
    JointSettings settings;
    settings.ratio = ratio;
    settings.max_components = components;
    JointFit fit(shared_model(), settings, 7);
    for (int64_t i = 0; i < kTexts; ++i) {
        const Text& text = texts()[static_cast<size_t>(i)];
        fit.add({text.rows.slice(kFirst, kLength - kFirst), std::span(text.ids).subspan(kFirst), kFirst});
    }
    if (gradients) fit.add_gradients({texts()[0].ids, texts()[1].ids}, 64);
    for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
    return fit.finish();
}

const std::shared_ptr<const JointCodec>& codec() {
    static const auto shared = fitted(8, true);
    return shared;
}

std::shared_ptr<const Sidecar> sidecar_of(std::shared_ptr<const JointCodec> joint) {
    SidecarInfo info;
    info.model_sha256 = shared_weights()->sha256();
    return std::make_shared<Sidecar>(std::move(joint), std::move(info));
}

const Sidecar& sidecar() {
    static const auto shared = sidecar_of(codec());
    return *shared;
}

double largest(const at::Tensor& values) { return values.abs().max().item<double>(); }

double unexplained(const at::Tensor& exact, const at::Tensor& decoded) {
    const at::Tensor late = exact.slice(0, kFirst);
    return ((late - decoded.slice(0, kFirst)).square().sum() / (late - late.mean(0)).square().sum()).item<double>();
}

}  // namespace

TEST_CASE("joint: hidden states, keys and values of held-out text come back from one z") {
    const at::Tensor z = codec()->encode(held_out().rows.hidden);
    CHECK(z.size(1) == 8);
    const StateRows back = codec()->decode_state(z, held_out().ids);
    CHECK(unexplained(held_out().rows.hidden, back.hidden) < 0.02);
    CHECK(unexplained(held_out().rows.key, back.key) < 0.02);
    CHECK(unexplained(held_out().rows.value, back.value) < 0.03);
    // Those of block 0 are the token's own: exact whatever z is.
    CHECK(largest(back.key.select(1, 0) - held_out().rows.key.select(1, 0)) < 1e-4);
    CHECK(largest(back.value.select(1, 0) - held_out().rows.value.select(1, 0)) < 1e-4);
    CHECK_THROWS_AS(codec()->decode_state(z, std::span(held_out().ids).first(3)), InputError);
}

TEST_CASE("joint: keys and values are what the next block makes of the decoded state") {
    const at::Tensor z = codec()->encode(held_out().rows.hidden);
    const StateRows back = codec()->decode_state(z, held_out().ids);
    const ModelConfig& c = shared_model().config();
    for (const int64_t block : {1, 4, 17, 29}) {
        CAPTURE(block);
        const at::Tensor h = back.hidden.select(1, block - 1).to(at::kDouble);
        const std::string name = "blocks." + std::to_string(block) + ".";
        const at::Tensor normed = h / (h.square().mean(1, true) + c.norm_eps).sqrt() *
                                  shared_weights()->tensor(name + "attn_norm").to(at::kDouble);
        const at::Tensor key = at::matmul(normed, shared_weights()->tensor(name + "k").to(at::kDouble).t());
        const at::Tensor value = at::matmul(normed, shared_weights()->tensor(name + "v").to(at::kDouble).t());
        // The decoded direction is not quite of unit length, which the model's own norm would mend.
        CHECK(unexplained(key, back.key.select(1, block).flatten(1).to(at::kDouble)) < 5e-3);
        CHECK(unexplained(value, back.value.select(1, block).flatten(1).to(at::kDouble)) < 5e-3);
    }
}

TEST_CASE("joint: a group decodes as it does among all, its first block's keys and values apart") {
    const at::Tensor z = codec()->encode(held_out().rows.hidden.slice(0, 10, 22));
    const StateRows all = codec()->decode_state(z, std::span(held_out().ids).subspan(10, 12));
    for (const int64_t group : {0, 3, 7}) {
        CAPTURE(group);
        const LayerGroup& blocks = codec()->groups()[static_cast<size_t>(group)];
        const at::Tensor own = all.hidden.slice(1, blocks.first_block, blocks.last_block + 1);
        CHECK(largest(codec()->decode_group(z, group) - own) < 1e-4 * largest(own));
        const auto rows = codec()->decode_group_kv(z, group);
        REQUIRE(static_cast<int64_t>(rows.size()) == blocks.layers() - 1);
        for (size_t i = 0; i < rows.size(); ++i) {
            CHECK(rows[i].block == blocks.first_block + 1 + static_cast<int64_t>(i));
            CHECK(largest(rows[i].key - all.key.select(1, rows[i].block)) < 1e-3);
            CHECK(largest(rows[i].value - all.value.select(1, rows[i].block)) < 1e-3);
        }
    }
    CHECK_THROWS_AS(codec()->decode_group(z, 8), InputError);
}

TEST_CASE("joint: z packs to the bytes that it is said to take, and comes back bit for bit") {
    int64_t bytes = 0, tokens = 0;
    for (size_t i = kTexts; i < texts().size(); ++i) {
        const at::Tensor z = codec()->encode(texts()[i].rows.hidden.slice(0, kFirst));
        const std::string packed = codec()->pack(z);
        CHECK(same_bits(codec()->unpack(packed, z.size(0)), z));
        CHECK_THROWS_AS(codec()->unpack(packed, z.size(0) + 1), InputError);
        CHECK_THROWS_AS(codec()->unpack(packed.substr(0, packed.size() / 2), z.size(0)), InputError);
        bytes += static_cast<int64_t>(packed.size());
        tokens += z.size(0);
    }
    const double said = codec()->bytes_per_token(), fp16 = fp16_bytes(shared_model().config(), CodedPart::full);
    CHECK(said == doctest::Approx(fp16 / 8).epsilon(0.01));
    CHECK(static_cast<double>(bytes) / static_cast<double>(tokens) == doctest::Approx(said).epsilon(0.15));
    CHECK(sidecar().byte_account(shared_model().config()).hidden == said);
    CHECK(sidecar().byte_account(shared_model().config()).kv == 0);
    // An edited z goes to the nearest step.
    at::Tensor z = codec()->encode(held_out().rows.hidden.slice(0, 30, 32)).clone();
    z[0][2][0] = 5.3f;
    const at::Tensor back = codec()->unpack(codec()->pack(z), 2);
    CHECK(back[0][2][0].item<float>() == doctest::Approx(5).epsilon(0.11));
    CHECK(same_bits(back[1], z[1]));
}

TEST_CASE("joint: a token alone is coded as among others") {
    const at::Tensor together = codec()->encode(held_out().rows.hidden);
    const at::Tensor alone = codec()->encode(held_out().rows.hidden.slice(0, 50, 51));
    const at::Tensor differs = (together[50] - alone[0]).abs();
    // Sums taken in another order may put a number that lies between two steps on the other side.
    CHECK((differs > 0).sum().item<int64_t>() <= 4);
    CHECK(largest(differs) <= 1.51);
}

TEST_CASE("joint: deviations are those of the text that it was fitted on") {
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < kTexts; ++i)
        if (!TransformFit::samples(i))
            rows.push_back(codec()->encode(texts()[static_cast<size_t>(i)].rows.hidden.slice(0, kFirst)));
    const at::Tensor z = at::cat(rows);
    const at::Tensor leading = z.select(1, 4).slice(1, 0, 40);
    const at::Tensor ratio = leading.std(0, false) / codec()->component_std()[4].slice(0, 0, 40);
    CHECK(ratio.min().item<double>() > 0.97);
    CHECK(ratio.max().item<double>() < 1.03);
    CHECK(largest(leading.mean(0) / codec()->component_std()[4].slice(0, 0, 40)) < 0.05);
    // They share one metric: distances count them all alike, by the deviation of the whole group.
    const at::Tensor unit = codec()->component_unit()[4], own = codec()->component_std()[4];
    const int64_t used = codec()->components(4);
    CHECK(unit[0].item<double>() == doctest::Approx(std::sqrt(own.slice(0, 0, used).square().mean().item<double>())));
    CHECK(same_bits(unit.slice(0, 0, used), unit[0].expand(used)));
    CHECK(largest(unit.slice(0, used)) == 0);
    const at::Tensor explained = codec()->explained();
    CHECK((explained.slice(1, 0, 100).diff(1, 1) <= 0).all().item<bool>());
    CHECK(explained.sum(1).max().item<double>() <= 1.0001);
}

TEST_CASE("joint: gradients put bits where errors cost") {
    const auto plain = sidecar_of(fitted(24, false, 160)), weighted = sidecar_of(fitted(24, true, 160));
    double without = 0, with = 0;
    for (size_t i = kTexts; i < texts().size(); ++i) {
        without += resume_fidelity(shared_model(), *plain, texts()[i].ids, 64, texts()[i].rows).kl_nats;
        with += resume_fidelity(shared_model(), *weighted, texts()[i].ids, 64, texts()[i].rows).kl_nats;
    }
    CHECK(with < without);
    CHECK(plain->hash() != weighted->hash());
    CHECK(plain->hash() == sidecar_of(fitted(24, false, 160))->hash());
}

TEST_CASE("joint: an edit moves hidden states, keys and values of its group together") {
    const Latent z = sidecar().encode(held_out().rows.slice(40, 3), std::span(held_out().ids).subspan(40, 3));
    CHECK_FALSE(z.key.defined());
    LatentEdit edit;
    edit.first_token = edit.last_token = 41;
    edit.group = 2;
    edit.component = 1;
    edit.amount = 2;
    const Latent edited = apply_edits(sidecar(), z, 40, {edit}, {});
    CHECK((edited.hidden != z.hidden).sum().item<int64_t>() == 1);
    CHECK(edited.hidden[1][2][1].item<float>() ==
          doctest::Approx(2 * sidecar().hidden().component_std()[2][1].item<float>()));
    const auto groups = touched(sidecar(), {edit}, 41);
    REQUIRE(groups.size() == 1);
    CHECK(groups[0].hidden);
    CHECK(groups[0].blocks == std::vector<int64_t>{9, 10, 11});
    CHECK(touched(sidecar(), {edit}, 42).empty());

    const RowEdit control = decode_row(sidecar(), z, 1, 41, groups),
                  moved = decode_row(sidecar(), edited, 1, 41, groups);
    const StateRows decoded = sidecar().decode(z);
    CHECK(control.hidden_block == 11);
    CHECK(largest(control.hidden - decoded.hidden[1][11]) < 1e-3 * largest(control.hidden));
    REQUIRE(control.kv.size() == 3);
    for (size_t i = 0; i < 3; ++i) {
        CHECK(control.kv[i].block == groups[0].blocks[i]);
        CHECK(largest(control.kv[i].key - decoded.key[1][control.kv[i].block]) < 1e-3);
        CHECK(largest(moved.kv[i].key - control.kv[i].key) > 1e-3);
        CHECK(largest(moved.kv[i].value - control.kv[i].value) > 1e-4);
    }
    CHECK(largest(moved.hidden - control.hidden) > 1e-2);

    edit.part = LatentPart::all;
    CHECK(largest(apply_edits(sidecar(), z, 40, {edit}, {}).hidden - edited.hidden) == 0);
    edit.part = LatentPart::key;
    CHECK_THROWS_WITH_AS(apply_edits(sidecar(), z, 40, {edit}, {}), doctest::Contains("one z"), InputError);
    CHECK_THROWS_AS(sidecar().kv(), InputError);
}

TEST_CASE("joint: what is not there is not made up") {
    StateRows without = held_out().rows.slice(20, 5);
    without.hidden = at::Tensor();
    CHECK_FALSE(sidecar().encode(without).hidden.defined());
    const Latent nameless = sidecar().encode(held_out().rows.slice(20, 5));
    CHECK(sidecar().decode(nameless).hidden.defined());
    CHECK_FALSE(sidecar().decode(nameless).key.defined());  // block 0's follow from the tokens' ids
    at::Tensor broken = held_out().rows.hidden.slice(0, 0, 2).clone();
    broken[1][3][5] = NAN;
    CHECK_THROWS_AS(codec()->encode(broken), InputError);
    CHECK_THROWS_AS(codec()->encode(at::zeros({2, 3, 5})), InputError);
    CHECK_THROWS_AS(codec()->decode(at::zeros({2, 8, 3})), InputError);
    const ReconstructionError hidden_alone = reconstruction_error(sidecar(), held_out().rows);
    CHECK_FALSE(hidden_alone.key_fvu.defined());
    CHECK(reconstruction_error(sidecar(), held_out().rows, held_out().ids).key_fvu.defined());
}

TEST_CASE("joint: a path kept as the sidecar's z resumes to what the sidecar decodes of it") {
    TemporaryFolder folder("joint-latent");
    const LoadedCodec coded = latent_codec(sidecar());
    const SavedLatent saved = save_latent(shared_model(), coded, held_out().rows, held_out().ids, kFirst);
    const ResumedPath resumed = resumed_path(shared_model(), coded, saved);
    const Latent z = sidecar().encode(held_out().rows, held_out().ids);
    const StateRows decoded = sidecar().decode(z);
    const auto coded_rows = [](const at::Tensor& rows) { return rows.slice(0, kFirst, kLength - 1); };
    CHECK(largest(coded_rows(resumed.rows.key) - coded_rows(decoded.key)) < 1e-3);
    CHECK(largest(coded_rows(resumed.rows.value) - coded_rows(decoded.value)) < 1e-3);
    // The first tokens are the model's own.
    CHECK(largest(resumed.rows.key.slice(0, 0, kFirst) - held_out().rows.key.slice(0, 0, kFirst)) < 1e-3);
    const std::vector<RowEdit> edits = decoded_edits(resumed.rows, kFirst);
    REQUIRE(edits.size() == kLength - kFirst - 1);
    CHECK(edits[3].position == kFirst + 3);
    CHECK(edits[3].kv[7].block == 7);
    CHECK(same_bits(edits[3].kv[7].key, resumed.rows.key[kFirst + 3][7]));

    const std::string path = folder.file("sidecar");
    sidecar().save(path);
    const LoadedCodec loaded = load_latent_codec(path, shared_weights());
    CHECK(loaded.digest == sidecar().hash());
    CHECK(save_latent(shared_model(), loaded, held_out().rows, held_out().ids, kFirst).z.bytes == saved.z.bytes);
}

TEST_CASE("joint: a file gives the same sidecar back, and refuses what is not one") {
    TemporaryFolder folder("joint");
    const std::string path = folder.file("sidecar");
    sidecar().save(path);
    const auto loaded = Sidecar::load(path, shared_weights());
    CHECK(loaded->hash() == sidecar().hash());
    CHECK(loaded->byte_account(shared_model().config()).sidecar_bytes ==
          static_cast<int64_t>(std::filesystem::file_size(path)));
    const Latent a = sidecar().encode(held_out().rows, held_out().ids),
                 b = loaded->encode(held_out().rows, held_out().ids);
    CHECK(same_bits(a.hidden, b.hidden));
    CHECK(same_bits(sidecar().decode(a).value, loaded->decode(b).value));
    CHECK(same_bits(sidecar().hidden().component_std(), loaded->hidden().component_std()));

    std::string bytes = read_file(path);
    bytes[bytes.size() - 9] = static_cast<char>(bytes[bytes.size() - 9] ^ 1);
    write_atomically(path, bytes);
    CHECK_THROWS_AS(Sidecar::load(path, shared_weights()), FileError);

    TransformSettings predicting;
    predicting.max_components = 16;
    predicting.sample_tokens = 128;
    TransformFit fit(shared_weights(), predicting);
    for (size_t i = 0; i < 4; ++i)
        fit.add({texts()[i].rows.slice(kFirst, kLength - kFirst), std::span(texts()[i].ids).subspan(kFirst), kFirst});
    for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
    CHECK_THROWS_WITH_AS(JointCodec(fit.codec(64), {}, {}, 1), doctest::Contains("without predictions"), InputError);
    JointSettings bad;
    bad.ratio = 1;
    CHECK_THROWS_AS(JointFit(shared_model(), bad, 1), InputError);
    JointFit empty(shared_model(), {}, 1);
    CHECK_THROWS_AS(empty.decompose(0), InputError);
}
