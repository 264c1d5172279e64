#include "core/sidecar/codec_transform.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"

namespace savepoint {

namespace {

// Second moments of [features of a group, its context] about a shift taken from the first run.
struct Moments {
    at::Tensor shift, sum, square;
    int64_t tokens = 0;

    void add(const at::Tensor& rows) {
        if (!shift.defined()) {
            shift = rows.mean(0);
            sum = at::zeros_like(shift, at::kDouble);
            square = at::zeros({rows.size(1), rows.size(1)}, at::kFloat);
        }
        const at::Tensor x = rows - shift;
        sum.add_(x.sum(0, false, at::kDouble));
        square.addmm_(x.t(), x);
        tokens += rows.size(0);
    }
    at::Tensor mean() const { return shift + (sum / static_cast<double>(tokens)).to(at::kFloat); }
    at::Tensor covariance() const {
        const at::Tensor m = (sum / static_cast<double>(tokens)).to(at::kFloat);
        return square / static_cast<double>(tokens) - at::outer(m, m);
    }
};

// Through the float16 of a file, so that what is measured is what will be loaded.
at::Tensor as_stored(const at::Tensor& matrix) { return matrix.to(at::kHalf).to(at::kFloat).contiguous(); }

// Least squares with a ridge that shrinks as the text grows: with few tokens a prediction from a thousand numbers
// would only learn the text by heart.
at::Tensor ridge_regression(const at::Tensor& context, const at::Tensor& cross, int64_t tokens) {
    const auto width = static_cast<double>(context.size(0));
    const double ridge = 0.2 * width / static_cast<double>(tokens) * context.diagonal().mean().item<double>();
    const at::Tensor regular = context.to(at::kDouble) + at::eye(context.size(0), at::kDouble) * ridge;
    return at::linalg_solve(regular, cross.to(at::kDouble));
}

struct Roots {
    at::Tensor root, inverse;
};

Roots square_roots(const at::Tensor& metric) {
    const auto [values, vectors] = at::linalg_eigh(metric.to(at::kDouble));
    const at::Tensor roots = values.clamp_min(values.max().item<double>() * 1e-9).sqrt();
    return {at::matmul(vectors * roots, vectors.t()).to(at::kFloat),
            at::matmul(vectors / roots, vectors.t()).to(at::kFloat)};
}

// Rows of x in blocks of `width`, each multiplied from the left by its block's matrix.
at::Tensor blockwise(const std::vector<at::Tensor>& matrices, int64_t first, const at::Tensor& x, int64_t width) {
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i * width < x.size(0); ++i)
        parts.push_back(at::matmul(matrices[static_cast<size_t>(first + i)], x.slice(0, i * width, (i + 1) * width)));
    return at::cat(parts);
}

// Products in bfloat16 are off by 0.3 %, a hundred thousandth of their energy; codecs that lose a hundred times that
// do not notice.
constexpr double kCoarse = 1e-3;

struct Sample {
    std::vector<TokenId> tokens;
    CodedRun run;  // of these
};

}  // namespace

struct TransformFit::Impl {
    Impl(std::shared_ptr<const Weights> weights, TransformSettings asked, std::optional<Sensitivity> given)
        : features(std::make_shared<BlockFeatures>(std::move(weights), asked.part)),
          settings(std::move(asked)),
          sensitivity(std::move(given)),
          blocks(layer_groups(features->blocks(), settings.group_size)),
          moments(blocks.size()),
          groups(blocks.size()) {}

    at::Tensor group_rows(const StateRows& rows, const LayerGroup& group) const {
        std::vector<at::Tensor> parts;
        for (int64_t b = group.first_block; b <= group.last_block; ++b) parts.push_back(features->of(rows, b));
        return at::cat(parts, 1);
    }

    void add_moments(const CodedRun& run) {
        const at::Tensor embeddings = settings.from_token ? features->embeddings(run.tokens) : at::Tensor();
        at::Tensor below;
        for (size_t g = 0; g < blocks.size(); ++g) {
            const at::Tensor x = group_rows(run.rows, blocks[g]);
            const at::Tensor context = transform_context(settings.from_token, settings.from_below, embeddings, below);
            moments[g].add(context.defined() ? at::cat({x, context}, 1) : x);
            below = x.slice(1, x.size(1) - features->width());
        }
        if (settings.part == CodedPart::kv) return;
        const at::Tensor h = run.rows.hidden;
        const auto sum = [](at::Tensor& total, const at::Tensor& x) { total = total.defined() ? total + x : x; };
        sum(hidden_sum, h.sum(0, false, at::kDouble));
        sum(hidden_square, h.to(at::kDouble).square().sum(0));
    }

    // The metric needs variances of all blocks: after the moments, once.
    void find_metric() {
        if (!roots.empty()) return;
        const int64_t width = features->width();
        at::Tensor variance, mean_square = at::ones({features->blocks()});
        if (settings.part == CodedPart::kv) {
            std::vector<at::Tensor> parts;
            for (size_t g = 0; g < blocks.size(); ++g) {
                const at::Tensor cov =
                    moments[g].square.diagonal() / static_cast<double>(moments[g].tokens) -
                    (moments[g].sum / static_cast<double>(moments[g].tokens)).square().to(at::kFloat);
                parts.push_back(cov.slice(0, 0, blocks[g].layers() * width).reshape({-1, width}));
            }
            variance = at::cat(parts);
        } else {
            const auto n = static_cast<double>(tokens);
            variance = (hidden_square / n - (hidden_sum / n).square()).to(at::kFloat);
            mean_square = (hidden_square / n).mean(1).to(at::kFloat);
        }
        const Sensitivity* given = sensitivity ? &*sensitivity : nullptr;
        for (const at::Tensor& m : features->metric(variance, mean_square, given, settings.kl_weight))
            roots.push_back(square_roots(m));
        for (const Roots& r : roots) {
            root.push_back(r.root);
            inverse.push_back(r.inverse);
        }
    }

    void decompose(size_t g) {
        find_metric();
        const int64_t width = features->width(), all = blocks[g].layers() * width;
        TransformCodec::Group& group = groups[g];
        group.blocks = blocks[g];
        const at::Tensor mean = moments[g].mean(), covariance = moments[g].covariance();
        group.mean = mean.slice(0, 0, all).clone();
        at::Tensor residual = covariance.slice(0, 0, all).slice(1, 0, all);
        if (covariance.size(0) > all) {
            const at::Tensor cross = covariance.slice(0, 0, all).slice(1, all);
            const at::Tensor context = covariance.slice(0, all).slice(1, all);
            group.predict = as_stored(ridge_regression(context, cross.t(), tokens).t());
            group.context_mean = mean.slice(0, all).clone();
            const at::Tensor explained = at::matmul(group.predict, cross.t());
            residual = residual - explained - explained.t() +
                       at::matmul(at::matmul(group.predict, context), group.predict.t());
        }
        const int64_t first = blocks[g].first_block;
        at::Tensor scaled = blockwise(root, first, residual, width);
        scaled = blockwise(root, first, scaled.t().contiguous(), width);
        scaled = (scaled + scaled.t()) / 2;
        const EigenBasis basis = leading_components(scaled.to(at::kDouble), std::min(settings.max_components, all));
        const at::Tensor columns = basis.vectors.t().contiguous();
        group.encode = as_stored(blockwise(root, first, columns, width).t());
        group.decode = as_stored(blockwise(inverse, first, columns, width).t());
        eigenvalues.resize(groups.size());
        eigenvalues[g] = basis.values;
        totals.resize(groups.size());
        totals[g] = basis.total;
    }

    // Groups cut to the components that a step of that size can see.
    std::vector<TransformCodec::Group> cut(double step) const {
        std::vector<TransformCodec::Group> out = groups;
        for (size_t g = 0; g < out.size(); ++g) {
            const double least = 0.05 * step * step * (importance ? std::exp2(importance->finest()) : 1);
            const int64_t seen = std::max<int64_t>(1, (eigenvalues[g] > least).sum().item<int64_t>());
            out[g].encode = groups[g].encode.slice(0, 0, seen);  // views: the rates share their matrices
            out[g].decode = groups[g].decode.slice(0, 0, seen);
        }
        return out;
    }

    // The part of what is coded that a uniform step loses, in the metric.
    double lost(double step) const {
        double all = 0, gone = 0;
        for (const at::Tensor& values : eigenvalues) {
            all += values.sum().item<double>();
            gone += values.clamp_max(step * step / 12).sum().item<double>();
        }
        return gone / all;
    }

    struct Trial {
        std::shared_ptr<TransformCodec> codec;
        double bytes_per_token;
    };

    // z of the sample's runs, one after another, until there are so many tokens.
    TransformCodec::Latent latent_of_sample(const TransformCodec& codec, int64_t tokens) const {
        std::vector<std::vector<at::Tensor>> rounded(groups.size()), exact(groups.size());
        std::vector<at::Tensor> coarser;
        int64_t used = 0;
        for (const Sample& s : sample) {
            if (used >= tokens) break;
            const TransformCodec::Latent one = codec.quantise(s.run);
            for (size_t g = 0; g < groups.size(); ++g) {
                rounded[g].push_back(one.rounded[g]);
                exact[g].push_back(one.exact[g]);
            }
            if (one.coarser.defined()) coarser.push_back(one.coarser);
            used += static_cast<int64_t>(s.tokens.size());
        }
        TransformCodec::Latent all;
        for (size_t g = 0; g < groups.size(); ++g) {
            all.rounded.push_back(at::cat(rounded[g]));
            all.exact.push_back(at::cat(exact[g]));
        }
        if (!coarser.empty()) all.coarser = at::cat(coarser);
        return all;
    }

    static void fit_coders(TransformCodec& codec, const TransformCodec::Latent& z) {
        for (size_t g = 0; g < codec.groups_.size(); ++g)
            codec.groups_[g].coder =
                CoefficientCoder::fitted(z.rounded[g], z.exact[g], z.coarser_of(g), codec.rounding().pull);
    }

    // A codec of that step, its tables fitted on the first sample_tokens of the sample.
    Trial trial(double step, int64_t sample_tokens) const {
        TransformSettings made = settings;
        made.bfloat16 = !settings.exact_products && lost(step) > kCoarse;
        auto codec = std::make_shared<TransformCodec>(features, made, cut(step), step, "", importance);
        const TransformCodec::Latent z = latent_of_sample(*codec, sample_tokens);
        fit_coders(*codec, z);
        double bits = 0;
        for (size_t g = 0; g < groups.size(); ++g) bits += codec->groups_[g].coder.bits(z.rounded[g], z.coarser_of(g));
        if (importance) bits += 8 * static_cast<double>(importance->encode(z.coarser).size());
        return {codec, bits / 8 / static_cast<double>(z.rounded[0].size(0))};
    }

    // The step of a rate, a trial at a time. Bits fall by about one an octave and active component: log-log secant on a
    // part of the sample, then a closer look with the whole of it, then the tables once more from what they coded.
    class Search {
       public:
        Search(Impl& fit, double ratio)
            : fit_(fit), ratio_(ratio), wanted_(fp16_bytes(fit.features->config(), fit.settings.part) / ratio) {
            if (fit.sample.empty()) throw InputError("transform codec: too little text for a sample");
        }
        // False: done.
        bool step() {
            switch (at_) {
                case At::low:
                    low_ =
                        fit_.last_step > 0 ? fit_.last_step : 0.02 * std::sqrt(fit_.eigenvalues[0][0].item<double>());
                    low_bytes_ = fit_.trial(low_, kFewTokens).bytes_per_token;
                    at_ = At::high;
                    return true;
                case At::high:
                    high_ = low_ * (low_bytes_ > wanted_ ? 1.6 : 1 / 1.6);
                    high_bytes_ = fit_.trial(high_, kFewTokens).bytes_per_token;
                    at_ = At::secant;
                    return true;
                case At::secant:
                    secant();
                    return true;
                case At::whole:
                    whole();
                    return true;
                case At::tables:
                    finish();
                    return false;
            }
            return false;
        }
        std::shared_ptr<TransformCodec> codec() const { return last_.codec; }

       private:
        enum class At { low, high, secant, whole, tables };
        static constexpr int64_t kFewTokens = 384;
        static constexpr int kSecants = 8, kCloserLooks = 2;

        void secant() {
            if (tries_++ == kSecants || std::abs(std::log(high_bytes_ / wanted_)) <= 0.004) {
                at_ = At::whole;
                tries_ = 0;
                return whole();
            }
            const double slope = std::log(high_bytes_ / low_bytes_) / std::log(high_ / low_);
            const double move = std::clamp(std::log(wanted_ / high_bytes_) / std::min(slope, -0.2), -1.2, 1.2);
            low_ = high_;
            low_bytes_ = high_bytes_;
            high_ = high_ * std::exp(move);
            high_bytes_ = fit_.trial(high_, kFewTokens).bytes_per_token;
        }

        void whole() {
            if (last_.codec) high_ *= std::pow(last_.bytes_per_token / wanted_, 0.8);
            last_ = fit_.trial(high_, fit_.settings.sample_tokens);
            if (tries_++ == kCloserLooks || std::abs(std::log(last_.bytes_per_token / wanted_)) < 0.003)
                at_ = At::tables;
        }

        void finish() {
            fit_.last_step = high_;
            fit_.last_bytes = last_.bytes_per_token;
            const TransformCodec::Latent z = fit_.latent_of_sample(*last_.codec, fit_.settings.sample_tokens);
            fit_coders(*last_.codec, z);
            last_.codec->name_ = fit_.name(ratio_);
        }

        Impl& fit_;
        double ratio_, wanted_, low_ = 0, low_bytes_ = 0, high_ = 0, high_bytes_ = 0;
        At at_ = At::low;
        int tries_ = 0;
        Trial last_{};
    };

    std::string name(double ratio) const {
        char text[160];
        std::snprintf(text, sizeof text, "%s %gx",
                      settings.label.empty() ? default_label().c_str() : settings.label.c_str(), ratio);
        return text;
    }
    std::string default_label() const {
        std::string text = "transform " + to_string(settings.part) + " of " + std::to_string(settings.group_size);
        if (!sensitivity && settings.part != CodedPart::hidden) text += " unweighted";
        if (settings.from_token) text += " +token";
        if (settings.from_below) text += " +below";
        return text;
    }

    std::shared_ptr<const BlockFeatures> features;
    TransformSettings settings;
    std::optional<Sensitivity> sensitivity;
    std::shared_ptr<const TokenImportance> importance;
    std::vector<LayerGroup> blocks;
    std::vector<Moments> moments;
    std::vector<TransformCodec::Group> groups;
    std::vector<at::Tensor> eigenvalues;
    std::vector<double> totals;
    std::vector<Roots> roots;
    std::vector<at::Tensor> root, inverse;
    at::Tensor hidden_sum, hidden_square;
    std::deque<Sample> sample;
    int64_t tokens = 0, sampled = 0, runs = 0;
    double last_step = 0, last_bytes = 0;
    std::optional<Search> search;
};

TransformFit::TransformFit(std::shared_ptr<const Weights> weights, TransformSettings settings,
                           std::optional<Sensitivity> sensitivity)
    : impl_(std::make_unique<Impl>(std::move(weights), std::move(settings), std::move(sensitivity))) {}
TransformFit::~TransformFit() = default;
TransformFit::TransformFit(TransformFit&&) noexcept = default;

void TransformFit::add(const CodedRun& run) {
    if (samples(impl_->runs++) && impl_->sampled < impl_->settings.sample_tokens) {
        impl_->sample.push_back({{run.tokens.begin(), run.tokens.end()}, run});
        Sample& kept = impl_->sample.back();
        kept.run.tokens = kept.tokens;
        impl_->sampled += run.rows.tokens();
        return;
    }
    impl_->add_moments(run);
    impl_->tokens += run.rows.tokens();
}

const TransformSettings& TransformFit::settings() const { return impl_->settings; }
int64_t TransformFit::groups() const { return static_cast<int64_t>(impl_->blocks.size()); }
void TransformFit::set_sensitivity(Sensitivity sensitivity) {
    impl_->sensitivity = std::move(sensitivity);
    impl_->roots.clear();
    impl_->root.clear();
    impl_->inverse.clear();
    impl_->importance.reset();
    impl_->last_step = 0;
}
void TransformFit::set_importance(TokenImportance importance) {
    impl_->importance = std::make_shared<TokenImportance>(std::move(importance));
    impl_->last_step = 0;
}
void TransformFit::decompose(int64_t group) { impl_->decompose(static_cast<size_t>(group)); }
std::shared_ptr<const TransformCodec> TransformFit::codec(double ratio) {
    begin_codec(ratio);
    while (search_step()) {
    }
    return found_codec();
}
void TransformFit::begin_codec(double ratio) { impl_->search.emplace(*impl_, ratio); }
bool TransformFit::search_step() { return impl_->search->step(); }
std::shared_ptr<const TransformCodec> TransformFit::found_codec() const { return impl_->search->codec(); }
double TransformFit::sampled_bytes_per_token() const { return impl_->last_bytes; }
TransformFit::Spectrum TransformFit::spectrum(int64_t group) const {
    const auto g = static_cast<size_t>(group);
    return {impl_->eigenvalues.at(g), impl_->totals.at(g)};
}

std::vector<std::shared_ptr<const RunCodec>> TransformFit::finish() {
    for (int64_t g = 0; g < groups(); ++g) decompose(g);
    std::vector<std::shared_ptr<const RunCodec>> all;
    for (const double ratio : impl_->settings.ratios) all.push_back(codec(ratio));
    return all;
}

}  // namespace savepoint
