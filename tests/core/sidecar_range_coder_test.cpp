#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <random>

#include "core/model/error.h"
#include "core/sidecar/agreed_integers.h"
#include "core/sidecar/coefficient_coder.h"
#include "core/sidecar/range_coder.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

FrequencyTable table_of(const std::vector<double>& counts) { return FrequencyTable(FrequencyTable::scaled(counts)); }

// Columns of falling deviation, tokens of differing energy.
at::Tensor coefficients(int64_t tokens, int64_t columns, uint64_t seed) {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    const at::Tensor deviation = at::pow(10.0, at::linspace(1.5, -1, columns));
    const at::Tensor energy = at::randn({tokens, 1}, generator).mul(0.3).exp();
    return at::randn({tokens, columns}, generator) * deviation * energy;
}

}  // namespace

TEST_CASE("what is known of a value's width beforehand saves its bits, and is all that decoding some at a time needs") {
    at::Generator generator = at::detail::createCPUGenerator(5);
    const at::Tensor wider = at::randint(-8, 9, {4000, 24}, generator, at::kInt).to(at::kChar);
    const at::Tensor exact =
        at::randn({4000, 24}, generator) * 2 * at::pow(2.0, wider.to(at::kFloat) / 4);  // deviations 0.5 to 8
    const at::Tensor fit = exact.slice(0, 0, 3000), q = exact.slice(0, 3000).round().to(at::kInt);
    const at::Tensor fit_wider = wider.slice(0, 0, 3000), own = wider.slice(0, 3000);
    const CoefficientCoder blind = CoefficientCoder::fitted(fit.round(), fit);
    const CoefficientCoder coder = CoefficientCoder::fitted(fit.round(), fit, {{}, fit_wider});
    // The entropy of a Gaussian in unit steps, its width known: mean of log2(deviation sqrt(2 pi e)).
    const double known = std::log2(2 * std::sqrt(2 * M_PI * std::exp(1.0)));
    const double bits = coder.bits(q, {{}, own}) / static_cast<double>(q.numel());
    CHECK(bits > 0.99 * known);
    CHECK(bits < 1.04 * known);  // the gain of a token, too, is looked for
    CHECK(blind.bits(q) / static_cast<double>(q.numel()) > bits + 0.2);

    const std::string bytes = coder.encode(q, {{}, own});
    CHECK(at::equal(coder.decode(bytes, 1000, {{}, own}), q));
    CoefficientCoder::Reader reader(coder, bytes);
    CHECK(at::equal(reader.next(1, {{}, own.slice(0, 0, 1)}), q.slice(0, 0, 1)));
    CHECK(at::equal(reader.next(600, {{}, own.slice(0, 1, 601)}), q.slice(0, 1, 601)));
    CHECK_THROWS_AS(reader.finish(), InputError);
    CHECK(at::equal(reader.next(399, {{}, own.slice(0, 601)}), q.slice(0, 601)));
    reader.finish();
}

TEST_CASE("two sides whose sums differ in the last places agree on whole numbers") {
    at::Generator generator = at::detail::createCPUGenerator(6);
    const at::Tensor x = at::randn({500, 300}, generator) * 3;
    const at::Tensor off = (at::rand({500, 300}, generator) * 2 - 1) * (0.9 * AgreedIntegers::kMargin);
    const at::Tensor whole = AgreedIntegers::rounded(x), theirs = x + off;
    CHECK(at::equal(whole, x.add(0.5).floor().to(at::kChar)));
    CHECK_FALSE(at::equal(AgreedIntegers::rounded(theirs), whole));  // by themselves they do not
    const std::string close = AgreedIntegers::close_calls(x);
    // 2 kMargin of 150,000 numbers, some 14 bits each.
    CHECK(close.size() > 15);
    CHECK(close.size() < 60);
    AgreedIntegers::Reader reader(close);
    CHECK(at::equal(reader.next(theirs.slice(0, 0, 1)), whole.slice(0, 0, 1)));
    CHECK(at::equal(reader.next(theirs.slice(0, 1)), whole.slice(0, 1)));
    reader.finish();
    AgreedIntegers::Reader cut(close.substr(0, close.size() / 2)), early(close);
    cut.next(theirs);
    CHECK_THROWS_AS(cut.finish(), InputError);
    CHECK_THROWS_AS(early.finish(), InputError);
    AgreedIntegers::Reader(AgreedIntegers::close_calls(at::zeros({2, 2}))).finish();
}

TEST_CASE("what the range coder wrote comes back, at the entropy of its table") {
    const FrequencyTable table = table_of({70, 20, 9, 1});
    std::mt19937 random(5);
    std::discrete_distribution<int> draw({70, 20, 9, 1});
    RangeEncoder encoder;
    std::vector<int> symbols;
    double bits = 0;
    for (int i = 0; i < 20000; ++i) {
        symbols.push_back(draw(random));
        encoder.put(table, symbols.back());
        bits += table.bits(symbols.back());
    }
    encoder.put_bits(0x5A5, 11);
    const std::string bytes = encoder.finish();
    CHECK(static_cast<double>(bytes.size()) == doctest::Approx((bits + 11) / 8).epsilon(0.002));
    RangeDecoder decoder(bytes);
    for (const int symbol : symbols) REQUIRE(decoder.get(table) == symbol);
    CHECK(decoder.get_bits(11) == 0x5A5);
    CHECK_NOTHROW(decoder.finish());
}

TEST_CASE("carries run through long stretches of equal bytes") {
    // One symbol of nearly all the range, then the rare last one: low runs into 0xFF.. and carries.
    const FrequencyTable table = table_of({1, 16000, 1});
    for (int run = 1; run < 400; run += 7) {
        RangeEncoder encoder;
        for (int i = 0; i < run; ++i) encoder.put(table, i % 29 == 28 ? 2 : 1);
        encoder.put(table, 2);
        const std::string bytes = encoder.finish();
        RangeDecoder decoder(bytes);
        for (int i = 0; i < run; ++i) REQUIRE(decoder.get(table) == (i % 29 == 28 ? 2 : 1));
        REQUIRE(decoder.get(table) == 2);
        REQUIRE_NOTHROW(decoder.finish());
    }
}

TEST_CASE("frequency tables that do not add up are refused") {
    const std::vector<uint16_t> zero{0, 16384}, short_of{1, 2, 3}, beyond{16384, 1};
    CHECK_THROWS_AS(FrequencyTable{zero}, InputError);
    CHECK_THROWS_AS(FrequencyTable{short_of}, InputError);
    CHECK_THROWS_AS(FrequencyTable{beyond}, InputError);
}

TEST_CASE("coefficients come back exactly, also far outside what was fitted") {
    const at::Tensor fit = coefficients(400, 96, 1);
    const CoefficientCoder coder = CoefficientCoder::fitted(fit.round(), fit);
    at::Tensor q = coefficients(50, 96, 2).round().to(at::kInt);
    q[3][5] = 70000;
    q[4][90] = -123456;
    q[5][95] = 16;
    const std::string bytes = coder.encode(q);
    CHECK(at::equal(coder.decode(bytes, 50), q));
    CHECK(static_cast<double>(bytes.size()) == doctest::Approx(coder.bits(q) / 8).epsilon(0.01));
}

TEST_CASE("coding comes close to the entropy of the source") {
    const at::Tensor fit = coefficients(4000, 64, 3), held_out = coefficients(1000, 64, 4);
    const CoefficientCoder coder = CoefficientCoder::fitted(fit.round(), fit);
    const double bits = coder.bits(held_out.round()) / (1000.0 * 64);
    // Bound from below: each column's entropy, were the token's energy known for nothing.
    double bound = 0;
    for (int64_t column = 0; column < 64; ++column) {
        const double deviation = std::pow(10.0, 1.5 - 2.5 * static_cast<double>(column) / 63);
        for (int energy = 0; energy < 21; ++energy) {
            const double sigma = deviation * std::exp(0.3 * (-2 + 0.2 * energy));
            const double weight = std::exp(-0.5 * (-2 + 0.2 * energy) * (-2 + 0.2 * energy));
            double entropy = 0;
            const int span = static_cast<int>(6 * sigma) + 2;
            for (int v = -span; v <= span; ++v) {
                const double p =
                    0.5 * (std::erf((v + 0.5) / sigma / std::sqrt(2.0)) - std::erf((v - 0.5) / sigma / std::sqrt(2.0)));
                if (p > 0) entropy -= p * std::log2(p);
            }
            bound += weight * entropy;
        }
    }
    double weights = 0;
    for (int energy = 0; energy < 21; ++energy) weights += std::exp(-0.5 * (-2 + 0.2 * energy) * (-2 + 0.2 * energy));
    bound /= 64 * weights;
    CHECK(bits > bound * 0.97);
    CHECK(bits < bound * 1.08);
}

TEST_CASE("bytes that are cut off, prolonged or of another count are refused") {
    const at::Tensor fit = coefficients(100, 32, 6);
    const CoefficientCoder coder = CoefficientCoder::fitted(fit.round(), fit);
    const std::string bytes = coder.encode(fit.round());
    CHECK_THROWS_AS(coder.decode(bytes.substr(0, bytes.size() - 3), 100), InputError);
    CHECK_THROWS_AS(coder.decode(bytes + "abc", 100), InputError);
    CHECK_THROWS_AS(coder.decode(bytes, 60), InputError);
    CHECK_THROWS_AS(coder.encode(at::full({1, 32}, 1 << 30)), InputError);
}

TEST_CASE("values are pulled to the mean of their cell") {
    const at::Tensor exact = coefficients(20000, 8, 9);
    const at::Tensor q = exact.round();
    const CoefficientCoder coder = CoefficientCoder::fitted(q, exact);
    const at::Tensor values = coder.values(q.to(at::kInt));
    const double before = (q - exact).square().mean().item<double>(),
                 after = (values - exact).square().mean().item<double>();
    CHECK(after < before);
    CHECK(at::equal(values.eq(0), q.eq(0)));
    // A share of the way; none: a rounded value stands for itself.
    CHECK(at::equal(CoefficientCoder::fitted(q, exact, {}, 0).values(q.to(at::kInt)), q));
    CHECK(at::allclose(CoefficientCoder::fitted(q, exact, {}, 0.25).values(q.to(at::kInt)), q + 0.25 * (values - q)));
}

TEST_CASE("a token with a coarser step is coded as its coefficients in that step are, and what it cannot see is 0") {
    const at::Tensor fit = coefficients(4000, 64, 3);
    const at::Tensor coarser = (at::arange(4000) % 9 - 4).to(at::kInt);
    const at::Tensor scaled = fit / at::pow(2.0, coarser.to(at::kFloat) / 2).unsqueeze(1);
    const CoefficientCoder plain = CoefficientCoder::fitted(fit.round(), fit);
    const CoefficientCoder coder = CoefficientCoder::fitted(scaled.round(), scaled, coarser);

    // Decoding gives back what is seen; finer steps see more.
    const at::Tensor q = coder.coded_part(scaled.round(), coarser).to(at::kInt);
    const std::string bytes = coder.encode(q, coarser);
    CHECK(at::equal(coder.decode(bytes, 4000, coarser), q));
    CHECK(static_cast<double>(bytes.size()) == doctest::Approx(coder.bits(q, coarser) / 8).epsilon(0.01));
    const at::Tensor seen = coder.seen(at::arange(-4, 21, at::kInt));
    CHECK((seen.slice(0, 1) <= seen.slice(0, 0, seen.size(0) - 1)).all().item<bool>());
    CHECK(seen[0].item<int64_t>() == 64);
    CHECK(seen[24].item<int64_t>() < 40);
    CHECK(q.ne(scaled.round()).to(at::kFloat).mean().item<double>() < 0.002);

    // One that is coded on steps of the same size costs the same, whichever way it was fitted.
    const at::Tensor held_out = coefficients(1000, 64, 4).round();
    const at::Tensor none = at::zeros({1000}, at::kInt);
    CHECK(coder.bits(held_out, none) == doctest::Approx(plain.bits(held_out)).epsilon(0.02));
    // Two half octaves coarser is one bit less for each coefficient that is large beside the step.
    const at::Tensor large = at::randn({500, 16}, at::detail::createCPUGenerator(5)) * 40;
    const at::Tensor two = at::full({500}, 2, at::kInt), both = at::cat({large, large / 2});
    const CoefficientCoder wide =
        CoefficientCoder::fitted(both.round(), both, at::cat({at::zeros({500}, at::kInt), two}));
    CHECK((wide.bits(large.round()) - wide.bits((large / 2).round(), two)) / (500 * 16) ==
          doctest::Approx(1).epsilon(0.05));
}
