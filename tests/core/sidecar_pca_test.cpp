// The PCA codecs against closed forms: known covariances, direct eigendecompositions, hand-made error bounds.

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/quantizer.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

at::Tensor orthonormal(int64_t d) {
    at::manual_seed(9);
    return std::get<0>(at::linalg_qr(at::randn({d, d}, at::kDouble)));
}

double largest(const at::Tensor& tensor) { return tensor.abs().max().item<double>(); }

// covariance of x [n, d] about its mean, float64
at::Tensor covariance_of(const at::Tensor& x) {
    const at::Tensor centred = x.to(at::kDouble) - x.to(at::kDouble).mean(0);
    return at::matmul(centred.t(), centred) / static_cast<double>(x.size(0));
}

// The states of a group's blocks, each divided by its RMS deviation.
at::Tensor scaled_group(const StateRows& rows, int64_t first, int64_t count) {
    const at::Tensor x = rows.hidden.slice(1, first, first + count).to(at::kDouble);
    const at::Tensor deviation = (x - x.mean(0)).square().mean(at::IntArrayRef({0, 2})).sqrt();
    return (x / deviation.view({1, count, 1})).reshape({x.size(0), -1});
}

}  // namespace

TEST_CASE("layer groups cover every block once and the last may be smaller") {
    const auto groups = layer_groups(30, 4);
    REQUIRE(groups.size() == 8);
    CHECK(groups[0].label() == "blocks 0-3");
    CHECK(groups[7].first_block == 28);
    CHECK(groups[7].last_block == 29);
    CHECK(layer_groups(3, 1)[2].label() == "block 2");
    CHECK_THROWS_AS(layer_groups(30, 0), InputError);
}

TEST_CASE("leading components of a known covariance") {
    SUBCASE("full decomposition") {
        const at::Tensor basis = orthonormal(40), values = at::pow(0.8, at::arange(40, at::kDouble));
        const EigenBasis found = leading_components(at::matmul(basis * values, basis.t()), 10);
        CHECK(largest(found.values - values.slice(0, 0, 10)) < 1e-12);
        CHECK(found.total == doctest::Approx(values.sum().item<double>()));
        const at::Tensor cosine = at::matmul(found.vectors.to(at::kDouble), basis.slice(1, 0, 10)).abs();
        CHECK(largest(cosine - at::eye(10, at::kDouble)) < 1e-6);
    }
    SUBCASE("orthogonal iteration, a slowly falling spectrum") {
        const int64_t d = 700, k = 60;
        const at::Tensor basis = orthonormal(d), values = at::pow(at::arange(1, d + 1, at::kDouble), -1.0);
        const at::Tensor covariance = at::matmul(basis * values, basis.t());
        const EigenBasis found = leading_components(covariance, k);
        const at::Tensor rows = found.vectors.to(at::kDouble);
        CHECK(largest(at::matmul(rows, rows.t()) - at::eye(k, at::kDouble)) < 1e-5);
        CHECK(largest((found.values - values.slice(0, 0, k)) / values.slice(0, 0, k)) < 0.1);
        CHECK(largest((found.values - values.slice(0, 0, k)).slice(0, 0, 10)) < 1e-3);
        const double captured = at::matmul(at::matmul(rows, covariance), rows.t()).trace().item<double>();
        CHECK(captured == doctest::Approx(values.slice(0, 0, k).sum().item<double>()).epsilon(1e-3));
        CHECK(same_bits(found.vectors, leading_components(covariance, k).vectors));
    }
    SUBCASE("each matrix of a stack") {
        const StateRows rows = random_rows(300);
        const at::Tensor one = covariance_of(rows.key.select(1, 2).reshape({300, -1}));
        const EigenBases found = leading_components_of_each(at::stack({one, one * 4}), 5);
        const at::Tensor values = std::get<0>(at::linalg_eigh(one)).flip(0).slice(0, 0, 5);
        CHECK(largest(found.values[0] - values) < 1e-10);
        CHECK(largest(found.values[1] - values * 4) < 1e-10);
        CHECK(same_bits(found.vectors[0], found.vectors[1]));
    }
}

TEST_CASE("a fit equals the eigendecomposition of the scaled states' covariance") {
    const StateRows rows = random_rows(500);
    PcaSettings settings = full_rank(2);
    settings.hidden_components = 9;
    PcaFit fit(small_config(), settings);
    fit.add(rows.slice(0, 130));
    fit.add(rows.slice(130, 0));
    fit.add(rows.slice(130, 370));
    CHECK(fit.tokens() == 500);
    const PcaFit::Codecs codecs = fit.finish();
    CHECK_THROWS_AS(fit.add(rows), InputError);
    for (int64_t g = 0; g < 3; ++g) {
        const int64_t blocks = g < 2 ? 2 : 1;
        const at::Tensor x = scaled_group(rows, g * 2, blocks);
        const at::Tensor values = std::get<0>(at::linalg_eigh(covariance_of(x))).flip(0);
        CHECK(codecs.hidden->components(g) == 9);
        CHECK(largest(codecs.hidden->component_std()[g] - values.slice(0, 0, 9).sqrt()) < 1e-3);
        CHECK(largest(codecs.hidden->explained()[g] - values.slice(0, 0, 9) / values.sum()) < 1e-4);
        // What is lost is the variance of the components left out.
        const at::Tensor back = codecs.hidden->decode_group(codecs.hidden->encode(rows.hidden), g);
        StateRows decoded;
        decoded.hidden = rows.hidden.clone();
        decoded.hidden.slice(1, g * 2, g * 2 + blocks).copy_(back);
        const at::Tensor deviation = (rows.hidden - rows.hidden.mean(0))
                                         .square()
                                         .mean(at::IntArrayRef({0, 2}))
                                         .sqrt()
                                         .slice(0, g * 2, g * 2 + blocks);
        const at::Tensor error = (rows.hidden.slice(1, g * 2, g * 2 + blocks) - back) / deviation.view({1, blocks, 1});
        CHECK(error.square().sum().item<double>() / 500 ==
              doctest::Approx(values.slice(0, 9).sum().item<double>()).epsilon(1e-3));
    }
    for (int64_t block = 0; block < 5; ++block) {
        const at::Tensor values =
            std::get<0>(at::linalg_eigh(covariance_of(rows.key.select(1, block).reshape({500, -1})))).flip(0);
        CHECK(largest(codecs.kv->key_std()[block].square() - values) < 1e-3 * largest(values));
    }
}

TEST_CASE("full rank without quantisation gives every state back") {
    const StateRows rows = random_rows(200);
    const auto sidecar = small_sidecar(full_rank(2));
    const StateRows back = sidecar->decode(sidecar->encode(rows));
    CHECK(largest((back.hidden - rows.hidden) / rows.hidden.abs().max()) < 1e-5);
    CHECK(largest(back.key - rows.key) < 1e-4);
    CHECK(largest(back.value - rows.value) < 1e-4);
    CHECK(same_bits(back.last, back.hidden.select(1, 4)));
    CHECK(sidecar->hidden().components(0) == 24);
    CHECK(sidecar->hidden().components(2) == 12);
    CHECK(largest(sidecar->hidden().component_std()[2].slice(0, 12)) == 0);
}

TEST_CASE("a mean far larger than the spread costs no accuracy") {
    StateRows rows = random_rows(400), far = rows;
    far.hidden = rows.hidden + 3000;
    far.key = rows.key + 3000;
    PcaFit near_fit(small_config(), full_rank(5)), far_fit(small_config(), full_rank(5));
    near_fit.add(rows);
    far_fit.add(far);
    const auto near_codecs = near_fit.finish(), far_codecs = far_fit.finish();
    CHECK(at::allclose(near_codecs.hidden->component_std(), far_codecs.hidden->component_std(), 1e-2, 1e-3));
    CHECK(at::allclose(near_codecs.kv->key_std(), far_codecs.kv->key_std(), 1e-2, 1e-3));
}

TEST_CASE("the hidden stride takes every n-th token over all that was added") {
    const StateRows rows = random_rows(90);
    PcaSettings settings = full_rank(5);
    settings.hidden_stride = 3;
    PcaFit strided(small_config(), settings), whole(small_config(), full_rank(5));
    strided.add(rows.slice(0, 31));
    strided.add(rows.slice(31, 59));
    StateRows third = rows;
    third.hidden = rows.hidden.slice(0, 0, 90, 3);
    third.key = rows.key.slice(0, 0, 90, 3);
    third.value = rows.value.slice(0, 0, 90, 3);
    whole.add(third);
    CHECK(at::allclose(strided.finish().hidden->component_std(), whole.finish().hidden->component_std(), 1e-4, 1e-5));
}

TEST_CASE("quantised values lie on a grid, within half a step, clamped at the ends") {
    const at::Tensor low = at::tensor({-1.0f, -2.0f, 0.0f}), high = at::tensor({1.0f, 2.0f, 8.0f});
    for (int bits = 2; bits <= 8; ++bits) {
        const Quantizer quantizer(bits, low, high);
        at::manual_seed(bits);
        const at::Tensor z = at::rand({50, 3}) * (high - low) + low;
        const at::Tensor step = (high - low) / static_cast<double>((1 << bits) - 1);
        CHECK(at::le((quantizer.round(z) - z).abs(), step * 0.5001).all().item<bool>());
        CHECK(at::allclose(quantizer.round(at::full({1, 3}, 1e9f)), high));
        CHECK(at::allclose(quantizer.round(at::full({1, 3}, -1e9f)), low));
        CHECK(quantizer.row_bytes() == (3 * bits + 7) / 8);
        const std::string bytes = quantizer.pack(z);
        CHECK(static_cast<int64_t>(bytes.size()) == 50 * quantizer.row_bytes());
        CHECK(same_bits(quantizer.unpack(bytes, 50), quantizer.round(z)));
    }
    CHECK_THROWS_AS(Quantizer(1, low, high), InputError);
    CHECK_THROWS_AS(Quantizer(9, low, high), InputError);
    CHECK_THROWS_AS(Quantizer(8, high, low), InputError);
    const Quantizer raw(0, low, high);
    const at::Tensor z = at::randn({4, 3});
    CHECK(same_bits(raw.unpack(raw.pack(z), 4), z));
}

TEST_CASE("pack and unpack give z back in the bytes that the account says") {
    const StateRows rows = random_rows(33, 8);
    for (const int bits : {0, 2, 3, 5, 8}) {
        PcaSettings settings = full_rank(2);
        settings.hidden_components = 13;  // the last group has only 12
        settings.key_components = 5;
        settings.bits = bits;
        const auto sidecar = small_sidecar(settings);
        const Latent z = sidecar->encode(rows);
        const std::string hidden = sidecar->hidden().pack(z.hidden), kv = sidecar->kv().pack(z.key, z.value);
        const auto account = sidecar->byte_account(small_config());
        CHECK(static_cast<double>(hidden.size()) == account.hidden * 33);
        CHECK(static_cast<double>(kv.size()) == account.kv * 33);
        CHECK(account.hidden == (bits == 0 ? 4 * 38 : (38 * bits + 7) / 8));
        CHECK(same_bits(sidecar->hidden().unpack(hidden, 33), z.hidden));
        at::Tensor key, value;
        sidecar->kv().unpack(kv, 33, key, value);
        CHECK(same_bits(key, z.key));
        CHECK(same_bits(value, z.value));
        CHECK_THROWS_AS(sidecar->hidden().unpack(hidden, 34), InputError);
        CHECK_THROWS_AS(sidecar->hidden().unpack(hidden.substr(1), 33), InputError);
        CHECK_THROWS_AS(sidecar->kv().unpack(kv, int64_t{1} << 62, key, value), InputError);
    }
}

TEST_CASE("the byte account") {
    const auto sidecar = default_small_sidecar();
    const auto account = sidecar->byte_account(small_config());
    CHECK(account.hidden == 21);
    CHECK(account.kv == 25 + 30);
    CHECK(account.token_ids == 4);
    CHECK(account.raw_fp16_hidden == 5 * 12 * 2);
    CHECK(account.raw_fp16_kv == 5 * 12 * 2 * 2);
    CHECK(account.exact_first_tokens == 4);
    TemporaryFolder folder("account");
    sidecar->save(folder.file("s"));
    CHECK(account.sidecar_bytes == static_cast<int64_t>(std::filesystem::file_size(folder.file("s"))));
}

TEST_CASE("refusals of the codecs") {
    const auto sidecar = default_small_sidecar();
    const StateRows rows = random_rows(6);
    StateRows bad = rows;
    bad.hidden = rows.hidden.clone();
    bad.hidden[2][1][3] = NAN;
    CHECK_THROWS_AS(sidecar->encode(bad), InputError);
    bad = rows;
    bad.value = rows.value.clone();
    bad.value[0][0][0][0] = INFINITY;
    CHECK_THROWS_AS(sidecar->encode(bad), InputError);
    Latent z = sidecar->encode(rows).clone();
    z.hidden[1][1][1] = NAN;
    z.key[0][4][2] = NAN;
    CHECK_THROWS_AS(sidecar->decode(z), InputError);
    CHECK_THROWS_AS(sidecar->hidden().pack(z.hidden), InputError);
    CHECK_THROWS_AS(sidecar->kv().pack(z.key, z.value), InputError);
    CHECK_THROWS_AS(sidecar->hidden().encode(at::zeros({3, 5, 13})), InputError);
    CHECK_THROWS_AS(sidecar->kv().encode_keys(at::zeros({3, 5, 3, 6})), InputError);
    CHECK_THROWS_AS(sidecar->hidden().decode_group(sidecar->encode(rows).hidden, 3), InputError);
    CHECK_THROWS_AS(sidecar->group_of_block(5), InputError);
    CHECK_THROWS_AS(PcaFit(small_config(), full_rank(2)).finish(), InputError);
    PcaSettings settings;
    settings.bits = 9;
    CHECK_THROWS_AS(PcaFit(small_config(), settings), InputError);
    settings = {};
    settings.key_components = -1;
    CHECK_THROWS_AS(PcaFit(small_config(), settings), InputError);
}

TEST_CASE("rows that are partly missing encode only what is there") {
    const auto sidecar = default_small_sidecar();
    StateRows rows = random_rows(6);
    rows.hidden = at::Tensor();
    const Latent z = sidecar->encode(rows);
    CHECK_FALSE(z.hidden.defined());
    CHECK(z.tokens() == 6);
    const StateRows back = sidecar->decode(z);
    CHECK_FALSE(back.hidden.defined());
    CHECK(back.key.size(0) == 6);
}
