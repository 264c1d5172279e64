// Whether a conditional prior p(z_t | z_{t-1}, x_t) would code latents in fewer bits than the codec's own prior, whose
// scale is a column's deviation times the token's running gain. Entropies of rounded coefficients in held-out text
// under tables counted on other text: by the scale alone; by the scale and the energy that the column had in the tokens
// before (z_{t-1}); by the scale and what a ridge regression on the token's embedding (x_t) expects of the column's
// energy, of halves of the text that it was not fitted on. Usage: bench_latent_context CODEC.safetensors    (savepoint
// evaluate --codecs --parts kv --save FOLDER writes them)

#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/model/device.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/eigen_basis.h"
#include "core/sidecar/fit.h"

using namespace savepoint;

namespace {

constexpr int64_t kLength = 256, kPrefix = 192, kFirst = 4;
constexpr size_t kFit = 36, kHeldOut = 12;
constexpr int kScales = 64, kBins = 13, kSpan = 16;
constexpr int64_t kDirections = 32;  // of embeddings
constexpr double kRidge = 300;

struct Coded {
    at::Tensor embeddings;               // [tokens, d_model]
    std::vector<at::Tensor> q, coarser;  // by group: [tokens, columns], [tokens]
};

// Of one group and run, [tokens, columns] each. energy: q^2 over what the scale expects, log.
struct Scaled {
    at::Tensor q, scale, before, energy;
    at::Tensor x;  // [tokens, kDirections]
};

int quarter_octaves(double square) { return static_cast<int>(std::lround(2 * std::log2(square))); }

Scaled scaled(const at::Tensor& q, const at::Tensor& coarser, const at::Tensor& variance) {
    Scaled out{q, at::empty_like(q), at::empty_like(q), at::empty_like(q), {}};
    const int64_t tokens = q.size(0), columns = q.size(1);
    std::vector<double> memory(static_cast<size_t>(columns), 0), expected(memory);
    double prior = 1;
    for (int64_t t = 0; t < tokens; ++t) {
        double sum = 0, wont = 0, gain = prior;
        const float step = std::exp2(coarser.const_data_ptr<float>()[t]);
        for (int64_t i = 0; i < columns; ++i) {
            const double value = q.const_data_ptr<float>()[t * columns + i];
            const double v = variance.const_data_ptr<float>()[i] / step + 1e-4;
            const double mean = v * std::exp(-0.7 / std::sqrt(v)), weight = 1 / (mean + 0.5);
            if (i % 16 == 0) gain = (4 * prior + sum) / (4 + wont);
            const auto c = static_cast<size_t>(i);
            out.scale.data_ptr<float>()[t * columns + i] =
                static_cast<float>(std::clamp(quarter_octaves(v * gain) + kScales / 2, 0, kScales - 1));
            out.before.data_ptr<float>()[t * columns + i] = static_cast<float>((2 + memory[c]) / (2 + expected[c]));
            out.energy.data_ptr<float>()[t * columns + i] =
                static_cast<float>(std::log((value * value + 0.4) / (v * gain + 0.4)));
            sum += value * value * weight;
            wont += mean * weight;
            memory[c] = 0.85 * memory[c] + value * value * weight / gain;
            expected[c] = 0.85 * expected[c] + mean * weight;
        }
        prior = std::clamp((4 * prior + sum) / (4 + wont), 1.0 / 64, 64.0);
    }
    return out;
}

int bin(double octaves) { return std::clamp(static_cast<int>(std::lround(octaves)) + kBins / 2, 0, kBins - 1); }

// Bits of held-out values under counts of the fitted ones, in contexts [rows of both, columns].
class Tables {
   public:
    Tables() : counts_(static_cast<size_t>(kScales * kBins * (2 * kSpan + 1)), 0.02), sums_(kScales * kBins, 0.66) {}
    void count(int scale, int context, double q) {
        counts_[place(scale, context, q)] += 1;
        sums_[static_cast<size_t>(scale * kBins + context)] += 1;
    }
    double bits(int scale, int context, double q) const {
        return -std::log2(counts_[place(scale, context, q)] / sums_[static_cast<size_t>(scale * kBins + context)]);
    }

   private:
    static size_t place(int scale, int context, double q) {
        const int symbol = std::clamp(static_cast<int>(q), -kSpan, kSpan) + kSpan;
        return static_cast<size_t>((scale * kBins + context) * (2 * kSpan + 1) + symbol);
    }
    std::vector<double> counts_, sums_;
};

template <typename Context>
double bits_of(const std::vector<Scaled>& runs, Context context) {
    Tables tables;
    double bits = 0;
    for (size_t r = 0; r < runs.size(); ++r)
        for (int64_t i = 0; i < runs[r].q.numel(); ++i) {
            const auto scale = static_cast<int>(runs[r].scale.const_data_ptr<float>()[i]);
            const double q = runs[r].q.const_data_ptr<float>()[i];
            if (r < kFit)
                tables.count(scale, context(r, i), q);
            else
                bits += tables.bits(scale, context(r, i), q);
        }
    return bits;
}

// What the embedding tells of each column's energy: fitted runs by the other half of them.
std::vector<at::Tensor> expected_energy(const std::vector<Scaled>& runs) {
    const auto fitted_on = [&](auto belongs) {
        std::vector<at::Tensor> x, y;
        for (size_t r = 0; r < kFit; ++r)
            if (belongs(r)) x.push_back(runs[r].x), y.push_back(runs[r].energy);
        const at::Tensor a = at::cat(x), b = at::cat(y);
        return at::linalg_solve(at::matmul(a.t(), a) + kRidge * at::eye(kDirections), at::matmul(a.t(), b - b.mean(0)));
    };
    const at::Tensor even = fitted_on([](size_t r) { return r % 2 == 0; }),
                     odd = fitted_on([](size_t r) { return r % 2 == 1; }), all = fitted_on([](size_t) { return true; });
    std::vector<at::Tensor> out;
    for (size_t r = 0; r < runs.size(); ++r)
        out.push_back(at::matmul(runs[r].x, r >= kFit ? all : r % 2 == 0 ? odd : even).contiguous());
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: bench_latent_context CODEC.safetensors\n");
        return 2;
    }
    set_threads(0);
    const char* file = std::getenv("SAVEPOINT_MODEL");
    if (!file) file = SAVEPOINT_DEFAULT_MODEL;
    const Transformer model(Weights::from_gguf(file));
    const Tokenizer tokenizer(file);
    const LoadedCodec loaded = load_codec(argv[1], model.shared_weights());
    const auto* codec = dynamic_cast<const TransformCodec*>(loaded.codec.get());
    if (!codec) {
        std::fprintf(stderr, "%s is not a transform codec\n", argv[1]);
        return 2;
    }
    const TokenSplit split = split_corpus(fortunes_corpus(), tokenizer, kLength, 25600, 3072 + 512, 1);
    std::vector<Coded> runs;
    double tokens = 0;
    for (size_t r = 0; r < kFit + kHeldOut; ++r) {
        const auto& whole = r < kFit ? split.fit[r * split.fit.size() / kFit] : split.held_out[r - kFit];
        const std::vector<TokenId> ids(whole.begin(), whole.begin() + kPrefix);
        ForwardOptions kept;
        kept.logits = Logits::none;
        const CodedRun run = coded_run(model, model.forward_batch({ids}, kept).rows, ids, kFirst);
        const TransformCodec::Latent z = codec->quantise(run);
        Coded coded{codec->features().embeddings(run.tokens), {}, {}};
        for (size_t g = 0; g < z.rounded.size(); ++g) {
            coded.q.push_back(z.rounded[g].to(at::kFloat).contiguous());
            const at::Tensor own = z.coarser_of(g);
            coded.coarser.push_back(own.defined() ? own.to(at::kFloat).contiguous()
                                                  : at::zeros({coded.q.back().size(0)}));
        }
        if (r >= kFit) tokens += static_cast<double>(run.tokens.size());
        runs.push_back(std::move(coded));
    }
    std::vector<at::Tensor> all;
    for (size_t r = 0; r < kFit; ++r) all.push_back(runs[r].embeddings);
    const at::Tensor centre = at::cat(all).mean(0);
    const at::Tensor x = at::cat(all) - centre;
    const EigenBasis basis =
        leading_components((at::matmul(x.t(), x) / static_cast<double>(x.size(0))).to(at::kDouble), kDirections);
    const at::Tensor directions = basis.vectors.t() / basis.values.sqrt().to(at::kFloat);

    std::map<std::string, double> bits;
    for (size_t g = 0; g < codec->groups().size(); ++g) {
        at::Tensor variance;
        double rows = 0;
        for (size_t r = 0; r < kFit; ++r) {
            const at::Tensor steps = at::pow(2.0, runs[r].coarser[g]).unsqueeze(1);
            const at::Tensor sum = (runs[r].q[g].square() * steps).sum(0);
            variance = variance.defined() ? variance + sum : sum;
            rows += static_cast<double>(runs[r].q[g].size(0));
        }
        variance = (variance / rows + 0.01).contiguous();
        std::vector<Scaled> group;
        for (const Coded& run : runs) {
            group.push_back(scaled(run.q[g], run.coarser[g], variance));
            group.back().x = at::matmul(run.embeddings - centre, directions);
        }
        const std::vector<at::Tensor> expected = expected_energy(group);
        bits["scale alone"] += bits_of(group, [](size_t, int64_t) { return 0; });
        bits["scale and z_t-1"] += bits_of(
            group, [&](size_t r, int64_t i) { return bin(2 * std::log2(group[r].before.const_data_ptr<float>()[i])); });
        bits["scale and x_t"] +=
            bits_of(group, [&](size_t r, int64_t i) { return bin(2 * expected[r].const_data_ptr<float>()[i]); });
    }
    std::printf("%s, %zu held-out sequences, prefix of %lld\n", loaded.codec->name().c_str(), kHeldOut,
                static_cast<long long>(kPrefix));
    for (const auto& [name, sum] : bits)
        std::printf("  %-16s %8.2f bytes a token  %+.2f %%\n", name.c_str(), sum / 8 / tokens,
                    100 * (sum / bits["scale alone"] - 1));
    return 0;
}
