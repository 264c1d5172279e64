#include <ATen/ATen.h>

#include <cmath>

#include "core/sidecar/codec_quantized.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

QuantizedSettings settings_of(int bits, int64_t group = 8) {
    QuantizedSettings settings;
    settings.key_bits = settings.value_bits = settings.hidden_bits = bits;
    settings.group = group;
    return settings;
}

float as_half(double x) { return at::tensor(x, at::kDouble).to(at::kHalf).to(at::kFloat).item<float>(); }

// The formula of the header, one group at a time: the scale is at least what is needed, the zero at most.
std::vector<double> closed_form(const std::vector<double>& x, int bits) {
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    double zero = as_half(*low);
    if (zero > *low) zero = as_half(*low - std::abs(*low) / 1024 - 0x1p-24);
    const double levels = (1 << bits) - 1;
    const double wanted = (static_cast<float>(*high) - zero) / levels;
    double scale = as_half(wanted);
    if (scale < wanted) scale = as_half(wanted + wanted / 1024 + 0x1p-24);
    std::vector<double> back;
    for (const double value : x) back.push_back(std::round((value - zero) / scale) * scale + zero);
    return back;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

std::vector<double> numbers(const at::Tensor& x) {
    const at::Tensor flat = x.contiguous().to(at::kDouble).flatten();
    return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace

TEST_CASE("quantized: keys per channel and values per token are KIVI's closed form") {
    const RandomRun random = random_run(24);
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        const StateRows back = round_trip(*make_quantized(run_config(), settings_of(bits)), random);
        for (const int64_t first : {0, 16}) {
            const at::Tensor channel =
                random.rows.key.select(1, 2).select(1, 1).select(1, 5).slice(0, first, first + 8);
            const at::Tensor got = back.key.select(1, 2).select(1, 1).select(1, 5).slice(0, first, first + 8);
            CHECK(largest_difference(closed_form(numbers(channel), bits), numbers(got)) < 2e-5);
        }
        const at::Tensor head = random.rows.value[13][1][0], got = back.value[13][1][0];
        CHECK(largest_difference(closed_form(numbers(head), bits), numbers(got)) < 2e-5);
    }
}

TEST_CASE("quantized: no value is further off than half a step, and more bits are closer") {
    const RandomRun random = random_run(40);
    double before = 1e9;
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        const auto codec = make_quantized(run_config(), settings_of(bits));
        const at::Tensor value = random.rows.value, back = round_trip(*codec, random).value;
        const at::Tensor range = value.amax(3, true) - value.amin(3, true);
        const at::Tensor step =
            (range + value.abs().amax(3, true) / 512) / static_cast<double>((1 << bits) - 1) * 1.003;
        CHECK(at::le((back - value).abs(), step / 2 + 1e-6).all().item<bool>());
        const double error = error_of(*codec, random);
        CHECK(error < before / 2);
        before = error;
    }
}

TEST_CASE("quantized: the bytes are the formula's") {
    // 3 layers of 16 channels; 8 values share a scale and a zero of two bytes each.
    for (const int64_t tokens : {0, 7, 8, 29}) {
        const RandomRun random = random_run(tokens);
        for (const int bits : {2, 3, 4, 8}) {
            QuantizedSettings settings = settings_of(bits);
            const auto size = [&] {
                return static_cast<int64_t>(make_quantized(run_config(), settings)->encode(random.run()).size());
            };
            const auto coded = [&](int64_t count) { return (count * 48 * bits + 7) / 8 + count * 48 / 8 * 4; };
            const auto raw = [&](int64_t count) { return count * 48 * 2; };
            const int64_t grouped = tokens / 8 * 8;
            CHECK(size() == coded(grouped) + raw(tokens - grouped) + coded(tokens));
            settings.window = 6;
            const int64_t closed = std::max<int64_t>(0, tokens - 6), whole = closed / 8 * 8;
            CHECK(size() == coded(whole) + raw(tokens - whole) + coded(closed) + raw(tokens - closed));
            settings.window = 0;
            settings.short_group = true;
            const int64_t rest = tokens - grouped;
            const int64_t shorter = rest > 0 ? (rest * 48 * bits + 7) / 8 + 48 * 4 : 0;
            CHECK(size() == coded(grouped) + shorter + coded(tokens));
        }
    }
}

TEST_CASE("quantized: hidden states, and every axis for every plane") {
    const RandomRun random = random_run(19);
    QuantizedSettings settings = settings_of(8);
    settings.part = CodedPart::full;
    for (const GroupAxis axis : {GroupAxis::channel, GroupAxis::token}) {
        settings.hidden_axis = settings.key_axis = settings.value_axis = axis;
        const StateRows back = round_trip(*make_quantized(run_config(), settings), random);
        CHECK(largest_difference(back.hidden, random.rows.hidden) < 0.1);
        CHECK(largest_difference(back.key, random.rows.key) < 0.1);
        CHECK(largest_difference(back.value, random.rows.value) < 0.1);
        CHECK(same_bits(back.last, back.hidden.select(1, 2)));
    }
    settings.part = CodedPart::hidden;
    const StateRows hidden = round_trip(*make_quantized(run_config(), settings), random);
    CHECK(hidden.has_hidden());
    CHECK_FALSE(hidden.has_kv());
}

TEST_CASE("quantized: later tokens change nothing before their group, nor does cutting the run") {
    const RandomRun random = random_run(37);
    for (const bool turned : {false, true}) {
        QuantizedSettings settings = settings_of(3);
        settings.window = 4;
        settings.hadamard = turned;
        const auto codec = make_quantized(run_config(), settings);
        const StateRows whole = round_trip(*codec, random);
        RandomRun other = random;
        other.rows.key = random.rows.key.clone();
        other.rows.value = random.rows.value.clone();
        other.rows.key.slice(0, 24).mul_(-3);
        other.rows.value.slice(0, 24).mul_(-3);
        check_same_rows(round_trip(*codec, other).slice(0, 24), whole.slice(0, 24));
        check_same_rows(round_trip(*codec, random.first(29)).slice(0, 24), whole.slice(0, 24));
    }
}

TEST_CASE("quantized: recent tokens and an open group are float16") {
    const RandomRun random = random_run(21);
    QuantizedSettings settings = settings_of(2);
    settings.window = 3;
    const StateRows back = round_trip(*make_quantized(run_config(), settings), random);
    const auto half = [](const at::Tensor& x) { return x.to(at::kHalf).to(at::kFloat); };
    CHECK(same_bits(back.key.slice(0, 16), half(random.rows.key.slice(0, 16))));
    CHECK(same_bits(back.value.slice(0, 18), half(random.rows.value.slice(0, 18))));
    CHECK_FALSE(same_bits(back.value.slice(0, 17, 18), half(random.rows.value.slice(0, 17, 18))));
}

TEST_CASE("quantized: the Hadamard rotation is orthonormal and spreads an outlier") {
    const at::Tensor identity = at::eye(8);
    const at::Tensor matrix = hadamard(identity, 8);
    CHECK(at::allclose(at::matmul(matrix, matrix), identity, 0, 1e-6));
    CHECK(at::allclose(matrix.abs(), at::full({8, 8}, 1 / std::sqrt(8.0))));
    CHECK(largest_difference(hadamard(matrix, 8), identity) < 1e-6);
    RandomRun random = random_run(32);
    random.rows.value.select(3, 2).mul_(40);
    QuantizedSettings settings = settings_of(4);
    const double plain = (round_trip(*make_quantized(run_config(), settings), random).value - random.rows.value)
                             .select(3, 0)
                             .square()
                             .mean()
                             .item<double>();
    settings.hadamard = true;
    const double turned = (round_trip(*make_quantized(run_config(), settings), random).value - random.rows.value)
                              .select(3, 0)
                              .square()
                              .mean()
                              .item<double>();
    CHECK(turned < plain);
}

TEST_CASE("quantized: the largest values of float16 and beyond, constant groups, tiny groups") {
    RandomRun random = random_run(8);
    random.rows.key.select(3, 0).fill_(1e9);
    random.rows.key.select(3, 1).fill_(-70000);
    random.rows.key.select(3, 2).fill_(0);
    random.rows.key.select(3, 3).fill_(1e-9);
    random.rows.key.select(3, 4).slice(0, 0, 4).fill_(-60000);
    random.rows.key.select(3, 4).slice(0, 4).fill_(60000);
    const StateRows back = round_trip(*make_quantized(run_config(), settings_of(8)), random);
    CHECK(at::isfinite(back.key).all().item<bool>());
    CHECK(largest_difference(back.key.select(3, 0), at::full({8, 3, 2}, 65504)) < 64);
    CHECK(largest_difference(back.key.select(3, 2), at::zeros({8, 3, 2})) < 1e-6);
    CHECK(largest_difference(back.key.select(3, 4), random.rows.key.select(3, 4)) < 300);
}

TEST_CASE("quantized: contract, files and refusals") {
    const RandomRun random = random_run(21);
    for (const CodedPart part : {CodedPart::hidden, CodedPart::kv, CodedPart::full}) {
        QuantizedSettings settings = settings_of(3);
        settings.part = part;
        settings.window = 2;
        settings.hadamard = settings.short_group = part == CodedPart::full;
        const auto codec = make_quantized(run_config(), settings);
        check_contract(*codec, random);
        check_file(*codec, random, load_quantized);
    }
    const auto refused = [](auto change) {
        QuantizedSettings settings = settings_of(4);
        change(settings);
        CHECK_THROWS_AS(make_quantized(run_config(), settings), InputError);
    };
    refused([](QuantizedSettings& s) { s.key_bits = 1; });
    refused([](QuantizedSettings& s) { s.value_bits = 16; });
    refused([](QuantizedSettings& s) { s.group = 0; });
    refused([](QuantizedSettings& s) { s.group = 5; });
    refused([](QuantizedSettings& s) { s.window = -1; });
    std::string bytes = make_quantized(run_config(), settings_of(4))->encode(random.run());
    bytes[bytes.size() - 1] = bytes[bytes.size() - 3] = '\x7c';  // a zero of infinity
    bytes[bytes.size() - 2] = bytes[bytes.size() - 4] = '\0';
    CHECK_THROWS_AS(make_quantized(run_config(), settings_of(4))->decode(bytes, random.ids, 4), InputError);
}

TEST_CASE("quantized: names tell settings apart") {
    CHECK(make_quantized(run_config(), settings_of(4))->name() == "quantized int4 g8");
    QuantizedSettings settings = settings_of(3);
    settings.value_bits = 2;
    settings.key_axis = GroupAxis::token;
    settings.window = 16;
    settings.hadamard = settings.short_group = true;
    CHECK(make_quantized(run_config(), settings)->name() == "quantized int3/int2 g8 key:token window16 hadamard short");
    settings = settings_of(4);
    settings.part = CodedPart::hidden;
    CHECK(make_quantized(run_config(), settings)->name() == "quantized hidden int4 g8");
}
