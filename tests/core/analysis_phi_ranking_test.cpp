// The ranking of feature maps against its definition: read-outs and heads' outputs of one layer, summed in float64.

#include "core/analysis/phi_ranking.h"
#include "core/sidecar/reference_text.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

PhiRankingSettings small(std::vector<PhiKind> kinds, std::vector<int> rotary) {
    PhiRankingSettings settings;
    settings.kinds = std::move(kinds);
    settings.rotary = std::move(rotary);
    settings.sequence_length = 32;
    settings.held_out_tokens = 64;
    settings.fit_tokens = 64;
    settings.hedgehog_steps = 2;
    return settings;
}

// What the model's own hooks show of a layer, float64: [tokens, heads, head_dim].
struct Seen {
    at::Tensor q, k, v, z;
};

Seen seen(const std::vector<TokenId>& ids, int64_t layer, bool rotary) {
    Seen s;
    Hooks hooks;
    const std::string block = "blocks." + std::to_string(layer) + ".attn.";
    const auto keep = [&](const std::string& name, at::Tensor& to) {
        hooks.read(block + name, [&to](const at::Tensor& x) { to = x[0].to(at::kDouble); });
    };
    keep(rotary ? "hook_rot_q" : "hook_q", s.q);
    keep(rotary ? "hook_rot_k" : "hook_k", s.k);
    keep("hook_v", s.v);
    keep("hook_z", s.z);
    ForwardOptions options;
    options.hooks = &hooks;
    shared_model().forward_batch({ids}, options);
    return s;
}

at::Tensor feature(PhiKind kind, const at::Tensor& x) { return kind == PhiKind::relu ? at::relu(x) : x; }

struct Sums {
    double error = 0, length = 0, cosine = 0;
    int64_t tokens = 0;
};

// |read-out - z|^2, |z|^2 and the cosines of all heads and tokens from `first` on.
void add_naively(Sums& sums, const Seen& s, PhiKind kind, int64_t first) {
    for (int64_t t = first; t < s.q.size(0); ++t, ++sums.tokens)
        for (int64_t head = 0; head < 9; ++head) {
            const at::Tensor q = feature(kind, s.q[t][head]);
            at::Tensor mixed = at::zeros({64}, at::kDouble);
            double sum = 0;
            for (int64_t i = 0; i <= t; ++i) {
                const double weight = at::dot(q, feature(kind, s.k[i][head / 3])).item<double>();
                mixed += s.v[i][head / 3] * weight;
                sum += weight;
            }
            const double by = kind == PhiKind::identity ? static_cast<double>(t + 1) : sum;
            const at::Tensor out = by != 0 ? mixed / by : mixed, z = s.z[t][head];
            sums.error += (out - z).square().sum().item<double>();
            sums.length += z.square().sum().item<double>();
            const double lengths = out.norm().item<double>() * z.norm().item<double>();
            sums.cosine += lengths > 0 ? at::dot(out, z).item<double>() / lengths / 9 : 0;
        }
}

const PhiFidelity& row_of(const std::vector<PhiFidelity>& rows, PhiKind kind, bool rotary) {
    for (const PhiFidelity& row : rows)
        if (row.kind == kind && row.rotary == rotary) return row;
    FAIL("the phi was not ranked");
    return rows.front();
}

}  // namespace

TEST_CASE("phi ranking: errors and cosines of a layer by their definitions, before and after rotary embedding") {
    const PhiRankingSettings settings = small({PhiKind::relu, PhiKind::identity}, {0, 1});
    PhiRanking ranking(shared_model(), shared_tokenizer(), settings);
    double before = -1;
    bool partial = false;
    while (!ranking.done()) {
        ranking.step();
        CHECK(ranking.progress() >= before);
        before = ranking.progress();
        // What has been compared is there before the end, and says on how many tokens.
        if (const auto rows = ranking.ranked(); rows.size() == 2) partial |= rows[0].tokens == 28;
    }
    CHECK(partial);
    const auto rows = ranking.ranked();
    REQUIRE(rows.size() == 4);
    for (size_t i = 1; i < rows.size(); ++i) CHECK(rows[i - 1].relative_error <= rows[i].relative_error);

    TokenSplit split = split_corpus(fortunes_corpus(), shared_tokenizer(), 32, 64, 64, settings.seed);
    lay_out_as_reference_text(shared_tokenizer(), split.held_out);
    REQUIRE(split.held_out.size() == 2);
    for (const bool rotary : {false, true})
        for (const PhiKind kind : settings.kinds) {
            const PhiFidelity& row = row_of(rows, kind, rotary);
            CHECK(row.tokens == 56);  // 2 sequences of 32 without their first 4
            CHECK(row.features == 64);
            for (const int64_t layer : {int64_t{0}, int64_t{17}}) {
                Sums sums;
                for (const auto& ids : split.held_out) add_naively(sums, seen(ids, layer, rotary), kind, 4);
                const auto l = static_cast<size_t>(layer);
                CHECK(row.layer_error[l] == doctest::Approx(std::sqrt(sums.error / sums.length)).epsilon(2e-3));
                CHECK(row.layer_cosine[l] ==
                      doctest::Approx(sums.cosine / static_cast<double>(sums.tokens)).epsilon(2e-3));
            }
        }
}
