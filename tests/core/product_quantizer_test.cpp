#include "core/sidecar/product_quantizer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <set>

#include "core/model/error.h"
#include "core/state/safetensors.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

// Components of falling deviation, as a transform gives them.
const at::Tensor kDeviation = at::pow(2.0, at::linspace(3, -3, 40));

at::Tensor sample(int64_t rows, uint64_t seed) {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    return at::randn({rows, kDeviation.size(0)}, generator) * kDeviation;
}

ProductCodes learned(int64_t batches) {
    ProductCodes codes = ProductCodes::empty(kDeviation);
    at::Generator generator = at::detail::createCPUGenerator(5);
    for (int64_t i = 0; i < batches; ++i) {
        const at::Tensor z = sample(400, 100 + static_cast<uint64_t>(i));
        codes.learn(z, codes.chosen(z), generator);
    }
    return codes;
}

double error(const ProductCodes& codes, const at::Tensor& z) {
    return (codes.values(codes.chosen(z)) - z).square().sum(1).mean().item<double>();
}

}  // namespace

TEST_CASE("runs cover all components in order, few where deviations are large, sixteen at most where they are small") {
    const ProductCodes codes = ProductCodes::empty(kDeviation);
    CHECK(codes.ends.back() == 40);
    int64_t from = 0, longest = 0;
    for (const int64_t end : codes.ends) {
        CHECK(end > from);
        longest = std::max(longest, end - from);
        from = end;
    }
    CHECK(codes.ends.front() == 1);  // 8 steps of deviation: 4.8 bits, and the next as many
    CHECK(longest > 4);
    CHECK(longest <= 16);
}

TEST_CASE("the word chosen is the cheapest of all, here by looking at each") {
    const ProductCodes codes = learned(8);
    const at::Tensor z = sample(20, 3), chosen = codes.chosen(z);
    const at::Tensor p = (codes.counts + 1e-3) / (codes.counts + 1e-3).sum(0);
    for (int64_t row = 0; row < z.size(0); ++row) {
        int64_t from = 0;
        for (int64_t run = 0; run < codes.runs(); from = codes.ends[static_cast<size_t>(run++)]) {
            const int64_t to = codes.ends[static_cast<size_t>(run)];
            double least = INFINITY, own = 0;
            for (int64_t w = 0; w < ProductCodes::kWords; ++w) {
                const double cost =
                    (z[row].slice(0, from, to) - codes.words[w].slice(0, from, to)).square().sum().item<double>() -
                    std::log(p[w][run].item<double>()) / 6;
                least = std::min(least, cost);
                if (w == chosen[row][run].item<int64_t>()) own = cost;
            }
            CHECK(own == doctest::Approx(least).epsilon(1e-3).scale(1));
        }
    }
}

TEST_CASE("learning lowers the error on rows it has not seen, and few words stay unused") {
    const at::Tensor unseen = sample(500, 7);
    const double first = error(learned(1), unseen), later = error(learned(40), unseen);
    CHECK(later < 0.8 * first);
    CHECK(later < 0.5 * kDeviation.square().sum().item<double>());
    CHECK(learned(40).words_used() > 24);
    CHECK(learned(40).words_used() <= 256);
}

TEST_CASE("codebooks of a few points end on them") {
    const at::Tensor deviation = at::full({2}, 4.0f);
    const at::Tensor points = at::tensor({-5.0f, 5.0f, 4.0f, 4.0f, 0.0f, -6.0f}).view({3, 2});
    at::Generator generator = at::detail::createCPUGenerator(2);
    ProductCodes codes = ProductCodes::empty(deviation);
    for (int i = 0; i < 400; ++i) {
        const at::Tensor z =
            points.index_select(0, at::randint(3, {300}, generator, at::kLong)) + at::randn({300, 2}, generator) * 0.05;
        codes.learn(z, codes.chosen(z), generator);
    }
    CHECK(error(codes, points) < 0.01);
}

TEST_CASE("what is coded comes back, for about the bits that were told, and damage is refused") {
    const ProductCodes codes = learned(10);
    const at::Tensor fit = codes.chosen(sample(800, 11)), chosen = codes.chosen(sample(300, 12));
    const WordCoder coder = WordCoder::fitted(fit);
    const std::string bytes = coder.encode(chosen);
    CHECK(at::equal(coder.decode(bytes, 300), chosen));
    CHECK(8.0 * static_cast<double>(bytes.size()) == doctest::Approx(coder.bits(chosen)).epsilon(0.01));
    CHECK(coder.bits(chosen) < 8.0 * 300 * static_cast<double>(codes.runs()));
    CHECK_THROWS_AS(coder.decode(bytes.substr(0, bytes.size() / 2), 300), InputError);

    TensorFile file;
    coder.save(file, "words");
    const nlohmann::json none = nlohmann::json::object();
    const WordCoder loaded = WordCoder::load(TensorFields(file, none, "", "test"), "words", codes.runs());
    CHECK(loaded.encode(chosen) == bytes);
    CHECK_THROWS_AS(WordCoder::load(TensorFields(file, none, "", "test"), "words", codes.runs() + 1), FileError);
    file.tensors["words"][0][0] += 5;  // the row adds up to more than all
    CHECK_THROWS_AS(WordCoder::load(TensorFields(file, none, "", "test"), "words", codes.runs()), FileError);
}
