// The kernels of the decode step against plain double arithmetic, for every instruction set that is here.
#include <ggml.h>

#include <atomic>
#include <random>

#include "core/model/gemv.h"
#include "core/model/kernels.h"
#include "core/model/thread_team.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> sets = {portable_kernels()};
    for (const Kernels* kernels : {avx2_kernels(), avx512_kernels()})
        if (kernels) sets.push_back(kernels);
    return sets;
}

struct Matrix {
    PackedMatrix packed;
    at::Tensor dense;  // what ggml makes of the same blocks
};

// Random blocks with sensible scales; the minimum of a Q4_1 block is about -8 of its scales.
Matrix random_matrix(ggml_type type, int64_t rows, int64_t columns) {
    std::mt19937 random(3);
    std::string bytes(rows * ggml_row_size(type, columns), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const size_t size = ggml_type_size(type);
    for (size_t at = 0; at < bytes.size(); at += size) {
        const float scale = 0.01f + 0.0001f * static_cast<float>(random() % 100);
        const ggml_fp16_t halves[2] = {ggml_fp32_to_fp16(scale), ggml_fp32_to_fp16(-8 * scale)};
        std::memcpy(bytes.data() + at, halves, type == GGML_TYPE_Q4_1 ? 4 : 2);
    }
    Matrix matrix{pack_for_gemv(type, bytes.data(), rows, columns), at::empty({rows, columns}, at::kFloat)};
    ggml_get_type_traits(type)->to_float(bytes.data(), matrix.dense.data_ptr<float>(), rows * columns);
    return matrix;
}

at::Tensor multiplied(const Kernels& kernels, const Matrix& m, ggml_type type, const at::Tensor& x) {
    const int64_t rows = m.dense.size(0), columns = m.dense.size(1), groups = (rows + 15) / 16;
    at::Tensor y = at::full({rows}, NAN), scaled = at::empty_like(x), sums = at::empty({columns / 32});
    kernels.prepare(x.data_ptr<float>(), columns, scaled.data_ptr<float>(), sums.data_ptr<float>());
    const uint8_t* blocks = m.packed.blocks.data_ptr<uint8_t>();
    if (type == GGML_TYPE_Q4_1)
        kernels.gemv_q4_1(blocks, 0, groups, rows, columns, scaled.data_ptr<float>(), sums.data_ptr<float>(),
                          y.data_ptr<float>());
    else if (m.packed.type == GGML_TYPE_Q8_0 && type != GGML_TYPE_F32)
        kernels.gemv_q8_0(blocks, 0, groups, rows, columns, x.data_ptr<float>(), y.data_ptr<float>());
    else
        kernels.gemv_f32(m.dense.data_ptr<float>(), 0, groups, rows, columns, x.data_ptr<float>(), y.data_ptr<float>());
    return y;
}

void check_gemv(ggml_type type, int64_t rows, int64_t columns) {
    const Matrix m = random_matrix(type == GGML_TYPE_F32 ? GGML_TYPE_Q8_0 : type, rows, columns);
    const at::Tensor x = at::randn({columns});
    const at::Tensor exact = at::mv(m.dense.to(at::kDouble), x.to(at::kDouble));
    at::Tensor with_fma;
    for (const Kernels* kernels : available()) {
        INFO(kernels->name);
        const at::Tensor y = multiplied(*kernels, m, type, x);
        CHECK((y - exact).abs().max().item<double>() < 2e-5 * exact.abs().max().item<double>());
        if (kernels == portable_kernels()) continue;
        if (with_fma.defined()) CHECK(same_bits(with_fma, y));
        with_fma = y;
    }
}

}  // namespace

TEST_CASE("kernels: matrix times vector") {
    for (const ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_Q5_0, GGML_TYPE_F32}) {
        check_gemv(type, 192, 576);
        check_gemv(type, 37, 1536);  // a last group that is not full
        check_gemv(type, 1, 32);
    }
}

TEST_CASE("kernels: norm and gate") {
    const at::Tensor x = at::randn({1536}) * 5, weight = at::randn({1536}), up = at::randn({1536});
    const at::Tensor d = x.to(at::kDouble);
    const at::Tensor norm = d * at::rsqrt(d.square().mean() + 1e-5) * weight, gate = at::silu(d) * up;
    const at::Tensor tanh_gate = at::gelu(d, "tanh") * up;
    for (const Kernels* kernels : available()) {
        at::Tensor out = at::empty({1536}), gated = x.clone();
        kernels->rms_norm(x.data_ptr<float>(), weight.data_ptr<float>(), 1e-5f, 1536, out.data_ptr<float>());
        kernels->swiglu(gated.data_ptr<float>(), up.data_ptr<float>(), 1536);
        CHECK((out - norm).abs().max().item<double>() < 1e-5);
        CHECK((gated - gate).abs().max().item<double>() < 1e-5);
        at::Tensor tanh_gated = x.clone();
        kernels->geglu(tanh_gated.data_ptr<float>(), up.data_ptr<float>(), 1536);
        CHECK((tanh_gated - tanh_gate).abs().max().item<double>() < 1e-5);
        at::Tensor extreme =
            at::tensor({1000.f, -1000.f, 0.f, 88.f, -88.f, 1.f, -1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 7.f, 8.f, 9.f, 10.f});
        at::Tensor tanh_extreme = extreme.clone();
        kernels->swiglu(extreme.data_ptr<float>(), at::ones({16}).data_ptr<float>(), 16);
        kernels->geglu(tanh_extreme.data_ptr<float>(), at::ones({16}).data_ptr<float>(), 16);
        for (const at::Tensor& gated_extreme : {extreme, tanh_extreme}) {
            CHECK(gated_extreme[0].item<float>() == 1000.f);
            CHECK(std::abs(gated_extreme[1].item<float>()) < 1e-30f);
        }
    }
}

TEST_CASE("kernels: attention in chunks is attention") {
    constexpr int64_t tokens = 150, d = 64, chunks = 3, stride = d + 2;
    const at::Tensor q = at::randn({d}) * 3, k = at::randn({tokens, d}), v = at::randn({tokens, d});
    const at::Tensor exact =
        at::mv(v.t().to(at::kDouble), at::softmax(at::mv(k.to(at::kDouble), q.to(at::kDouble)) * 0.125, 0));
    for (const Kernels* kernels : available()) {
        std::vector<float> partials(chunks * stride);
        for (int64_t c = 0; c < chunks; ++c) {
            const int64_t first = c * attention_chunk, count = std::min(attention_chunk, tokens - first);
            kernels->attend(q.data_ptr<float>(), k.data_ptr<float>() + first * d, v.data_ptr<float>() + first * d,
                            count, d, 0.125f, partials.data() + c * stride);
        }
        at::Tensor z = at::empty({d});
        kernels->combine(partials.data(), chunks, stride, d, z.data_ptr<float>());
        CHECK((z - exact).abs().max().item<double>() < 1e-5);
    }
}

TEST_CASE("kernels: rows of few numbers times a panel") {
    const at::Tensor panel = at::randn({9, panel_columns});
    // Row 0 is empty, row 1 has all of the panel's rows, row 2 one of them twice.
    const std::vector<int64_t> begins = {0, 0, 9, 11};
    const std::vector<int32_t> rows = {0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 4};
    std::vector<float> values;
    for (size_t i = 0; i < rows.size(); ++i) values.push_back(0.3f * static_cast<float>(i) - 1.7f);
    at::Tensor dense = at::zeros({3, 9}, at::kDouble);
    for (int64_t t = 0; t < 3; ++t)
        for (auto i = static_cast<size_t>(begins[t]); i < static_cast<size_t>(begins[t + 1]); ++i)
            dense[t][rows[i]] += static_cast<double>(values[i]);
    const at::Tensor exact = at::matmul(dense, panel.to(at::kDouble));
    at::Tensor with_fma;
    for (const Kernels* kernels : available()) {
        INFO(kernels->name);
        at::Tensor out = at::full({3, panel_columns + 5}, 7.f);
        kernels->sparse_times_panel(panel.data_ptr<float>(), begins.data(), rows.data(), values.data(), 3,
                                    out.data_ptr<float>(), panel_columns + 5);
        CHECK((out.slice(1, 0, panel_columns) - exact).abs().max().item<double>() < 1e-5);
        CHECK((out.slice(1, panel_columns) == 7.f).all().item<bool>());  // what lies between is not touched
        if (kernels == portable_kernels()) continue;
        if (with_fma.defined()) CHECK(same_bits(with_fma, out));
        with_fma = out;
    }
}

TEST_CASE("kernels: a team keeps step, run after run") {
    for (const int size : {1, 2, 5}) {
        ThreadTeam team(size);
        std::atomic<int> arrived{0};
        std::atomic<bool> in_step{true};
        for (int run = 0; run < 50; ++run) {
            arrived = 0;
            team.run([&](int) {
                for (int phase = 1; phase <= 20; ++phase) {
                    ++arrived;
                    team.barrier();
                    if (arrived != phase * size) in_step = false;
                    team.barrier();
                }
            });
        }
        CHECK(in_step);
    }
}
