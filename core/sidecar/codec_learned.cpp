#include "core/sidecar/codec_learned.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <functional>
#include <optional>

#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/sidecar/agreed_integers.h"

namespace savepoint {

namespace {

constexpr double kBound = 8;                       // standard deviations that a network sees of a context
const double kQuarterOctaves = 4 / std::log(2.0);  // of a natural logarithm

const char* const kArchitectures[] = {"layer_specific", "grouped", "unified", "conv", "attention"};

at::Tensor last_block(const at::Tensor& group_features, int64_t width) {
    return group_features.slice(1, group_features.size(1) - width);
}

at::Tensor standardised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& deviation) {
    return ((x - mean) / deviation).clamp(-kBound, kBound);
}

}  // namespace

int64_t learned_context_size(const LearnedSettings& settings, const BlockFeatures& features) {
    return (settings.from_token ? features.config().d_model : 0) +
           ((settings.from_below ? 1 : 0) + (settings.recurrent ? 1 : 0)) * features.width();
}

at::Tensor learned_context(const LearnedCodec::Parts& parts, size_t group, const at::Tensor& embeddings,
                           const at::Tensor& below, const at::Tensor& before) {
    const LearnedSettings& settings = parts.network->settings();
    const int64_t width = parts.transform->features().width(), rows = embeddings.size(0);
    const auto seen_of = [&](const at::Tensor& x, size_t g) {
        const at::Tensor mean = parts.transform->groups()[g].mean, deviation = parts.deviation[g];
        return standardised(x, mean.slice(0, mean.size(0) - width), deviation.slice(0, mean.size(0) - width));
    };
    std::vector<at::Tensor> seen;
    if (settings.from_token) seen.push_back(embeddings);
    if (settings.from_below)
        seen.push_back(below.defined() ? seen_of(below, group - 1) : at::zeros({rows, width}, embeddings.options()));
    if (settings.recurrent) seen.push_back(seen_of(before, group));
    return at::cat(seen, 1);
}

// One run through the groups. `code` turns c - n of a group, encoded and in the token's steps (undefined when
// decoding), into z; coarser and wider: of the same rows, the latter not rounded yet.
class LearnedCodec::Walk {
   public:
    using Code = std::function<at::Tensor(size_t group, const at::Tensor& steps, const at::Tensor& coarser,
                                          const at::Tensor& wider)>;

    Walk(const Parts& parts, std::span<const TokenId> tokens, const StateRows* rows, at::Tensor coarser)
        : parts_(parts),
          transform_(*parts.transform),
          network_(*parts.network),
          rows_(rows),
          coarser_(std::move(coarser)) {
        embeddings_ = transform_.features().embeddings(tokens);
        distinct_ = transform_.predicted_from(tokens);
    }

    // Decoded features by block.
    std::vector<at::Tensor> run(const Code& code) {
        std::vector<at::Tensor> groups;
        if (network_.unified())
            groups = together(code);
        else
            for (size_t g = 0; g < transform_.groups().size(); ++g) groups.push_back(one(g, code));
        std::vector<at::Tensor> blocks;
        const int64_t width = transform_.features().width();
        for (const at::Tensor& x : groups)
            for (int64_t at = 0; at < x.size(1); at += width) blocks.push_back(x.slice(1, at, at + width));
        return blocks;
    }

   private:
    at::Tensor one(size_t g, const Code& code) {
        const auto& group = transform_.groups()[g];
        const at::Tensor linear = transform_.prediction(group, distinct_, below_);
        const at::Tensor c = coefficients(g, linear), coarser = token_coarser(coarser_, g);
        at::Tensor x;
        if (network_.settings().recurrent) {
            x = token_by_token(g, c, linear, coarser, code);
        } else {
            const auto context = context_of(g, below_, {}, coarser);
            x = transform_.group_features(group, coded(g, c, context, coarser, code), linear);
        }
        below_ = last_block(x, transform_.features().width());
        return x;
    }

    // The group's own decoded features of the token before are part of what the next is coded with.
    at::Tensor token_by_token(size_t g, const at::Tensor& c, const at::Tensor& linear, const at::Tensor& coarser,
                              const Code& code) {
        const auto& group = transform_.groups()[g];
        const int64_t width = transform_.features().width();
        at::Tensor before = group.mean.slice(0, group.mean.size(0) - width).unsqueeze(0);
        std::vector<at::Tensor> out;
        for (int64_t t = 0; t < embeddings_.size(0); ++t) {
            const auto row = [t](const at::Tensor& x) { return x.defined() ? x.slice(0, t, t + 1) : x; };
            const at::Tensor seen = learned_context(parts_, g, row(embeddings_), row(below_), before);
            const auto context = network_.context(g, seen.unsqueeze(0), batched(row(coarser)));
            const at::Tensor v = coded(g, row(c), context, row(coarser), code);
            out.push_back(transform_.group_features(group, v, row(linear)));
            before = last_block(out.back(), width);
        }
        return out.empty() ? at::empty({0, group.width()}) : at::cat(out);
    }

    std::vector<at::Tensor> together(const Code& code) {
        std::vector<at::Tensor> values, linears, steps;
        for (size_t g = 0; g < transform_.groups().size(); ++g) {
            linears.push_back(transform_.prediction(transform_.groups()[g], distinct_, {}));
            const at::Tensor coarser = token_coarser(coarser_, g);
            const auto context = context_of(g, {}, {}, coarser);
            values.push_back(valued(g, coefficients(g, linears.back()), context, coarser, code).unsqueeze(0));
            steps.push_back(batched(coarser));
        }
        values = network_.decoded_together(values, steps);
        std::vector<at::Tensor> out;
        for (size_t g = 0; g < values.size(); ++g)
            out.push_back(transform_.group_features(transform_.groups()[g], values[g].squeeze(0), linears[g]));
        return out;
    }

    // The steps of a batch of one run: [1, tokens, 1].
    static at::Tensor batched(const at::Tensor& coarser) {
        return coarser.defined() ? relative_steps(coarser).unsqueeze(0) : at::Tensor();
    }

    LatentNetwork::Context context_of(size_t g, const at::Tensor& below, const at::Tensor& before,
                                      const at::Tensor& coarser) const {
        if (learned_context_size(network_.settings(), transform_.features()) == 0) return {};
        return network_.context(g, learned_context(parts_, g, embeddings_, below, before).unsqueeze(0),
                                batched(coarser));
    }

    at::Tensor coefficients(size_t g, const at::Tensor& linear) const {
        if (!rows_) return {};
        const auto& group = transform_.groups()[g];
        return transform_.coefficients(group, transform_.features_of(group, *rows_), linear);
    }

    // r step exp(-s) z + n: [tokens, components]
    at::Tensor valued(size_t g, const at::Tensor& c, const LatentNetwork::Context& context, const at::Tensor& coarser,
                      const Code& code) const {
        const at::Tensor step =
            (coarser.defined() ? relative_steps(coarser) : at::ones({1, 1})) * parts_.step;  // [tokens or 1, 1]
        at::Tensor steps;
        if (c.defined()) {
            const at::Tensor residual = context.expected.defined() ? c - context.expected.squeeze(0) : c;
            steps = network_.encoded(g, residual.unsqueeze(0), batched(coarser)).squeeze(0) / step;
        }
        at::Tensor wider;
        if (context.log_spread.defined()) wider = context.log_spread.squeeze(0) * kQuarterOctaves;
        at::Tensor v = code(g, steps, coarser, wider) * step / network_.scale(g);
        if (context.expected.defined()) v = v + context.expected.squeeze(0);
        return v;
    }

    at::Tensor coded(size_t g, const at::Tensor& c, const LatentNetwork::Context& context, const at::Tensor& coarser,
                     const Code& code) const {
        return network_.decoded(g, valued(g, c, context, coarser, code).unsqueeze(0), context.hidden, batched(coarser))
            .squeeze(0);
    }

    const Parts& parts_;
    const TransformCodec& transform_;
    const LatentNetwork& network_;
    const StateRows* rows_;
    at::Tensor coarser_;  // [tokens, groups], or undefined
    at::Tensor embeddings_, below_;
    BlockFeatures::Distinct distinct_;
};

bool LearnedCodec::foretold() const {
    return parts_.network->settings().prior == "context" && !parts_.network->in_words() &&
           learned_context_size(parts_.network->settings(), parts_.transform->features()) > 0;
}

CoefficientCoder::Context LearnedCodec::Latent::context_of(size_t group) const {
    return {coarser_of(group), wider.empty() ? at::Tensor() : AgreedIntegers::rounded(wider[group])};
}

// z of one group, some rows at a time: what the entropy coder expects of the later may hang on the earlier.
class LearnedCodec::ZReader {
   public:
    ZReader(const Parts& parts, size_t group, const std::string& bytes, int64_t tokens,
            const std::string* close_calls) {
        if (parts.network->in_words()) {
            words_ = parts.network->codes(group).values(parts.word_coders[group].decode(bytes, tokens));
            return;
        }
        coder_ = &parts.coders[group];
        z_.emplace(*coder_, bytes);
        if (close_calls) wider_.emplace(*close_calls);
    }
    // What stands for z: [rows, components].
    at::Tensor next(int64_t rows, const at::Tensor& coarser, const at::Tensor& wider) {
        if (!coder_) {
            at_ += rows;
            return words_.slice(0, at_ - rows, at_);
        }
        const CoefficientCoder::Context context{coarser, wider_ ? wider_->next(wider) : at::Tensor()};
        return coder_->values(z_->next(rows, context), context);
    }
    void finish() const {
        if (z_) z_->finish();
        if (wider_) wider_->finish();
    }

   private:
    const CoefficientCoder* coder_ = nullptr;
    std::optional<CoefficientCoder::Reader> z_;
    std::optional<AgreedIntegers::Reader> wider_;
    at::Tensor words_;
    int64_t at_ = 0;
};

LearnedCodec::Latent LearnedCodec::quantise(const CodedRun& run) const {
    const at::NoGradGuard no_grad;
    if (!run.rows.key.defined() && part() != CodedPart::hidden) throw InputError("state: has no keys and values");
    if (!run.rows.hidden.defined() && part() != CodedPart::kv) throw InputError("state: has no hidden states");
    if (run.rows.tokens() != static_cast<int64_t>(run.tokens.size()))
        throw InputError("state: has other tokens than were given");
    const size_t groups = parts_.transform->groups().size();
    std::vector<std::vector<at::Tensor>> exact(groups), rounded(groups), foretold(groups);
    Latent latent;
    if (parts_.transform->importance()) latent.coarser = parts_.transform->importance()->coarser(run);
    Walk(parts_, run.tokens, &run.rows, latent.coarser)
        .run([&](size_t g, const at::Tensor& steps, const at::Tensor& coarser, const at::Tensor& wider) {
            exact[g].push_back(steps);
            if (parts_.network->in_words()) {
                const ProductCodes codes = parts_.network->codes(g);
                rounded[g].push_back(codes.chosen(steps));
                return codes.values(rounded[g].back());
            }
            at::Tensor q = round_to_steps(steps, parts_.transform->rounding().dead_zone);
            if (!parts_.coders.empty()) q = parts_.coders[g].coded_part(q, coarser);
            rounded[g].push_back(q);
            CoefficientCoder::Context context(coarser);
            if (wider.defined()) {
                foretold[g].push_back(wider);
                context.wider = AgreedIntegers::rounded(wider);
            }
            return parts_.coders.empty() ? q : parts_.coders[g].values(q, context);
        });
    const bool words = parts_.network->in_words(), widths = this->foretold();
    for (size_t g = 0; g < groups; ++g) {
        const at::Tensor none = at::empty({0, parts_.transform->groups()[g].components()});
        latent.exact.push_back(exact[g].empty() ? none : at::cat(exact[g]));
        latent.rounded.push_back(!rounded[g].empty() ? at::cat(rounded[g])
                                 : words             ? at::empty({0, parts_.network->codes(g).runs()}, at::kLong)
                                                     : none);
        if (widths) latent.wider.push_back(foretold[g].empty() ? none : at::cat(foretold[g]));
    }
    return latent;
}

double LearnedCodec::bits(const Latent& latent) const {
    double bits = 0;
    for (size_t g = 0; g < latent.rounded.size(); ++g)
        bits += parts_.network->in_words() ? parts_.word_coders[g].bits(latent.rounded[g])
                                           : parts_.coders[g].bits(latent.rounded[g], latent.context_of(g));
    for (const at::Tensor& wider : latent.wider)
        bits += 8 * static_cast<double>(AgreedIntegers::close_calls(wider).size());
    if (latent.coarser.defined())
        bits += 8 * static_cast<double>(parts_.transform->importance()->encode(latent.coarser).size());
    return bits;
}

std::string LearnedCodec::coded(const Latent& latent, size_t group) const {
    return parts_.network->in_words() ? parts_.word_coders[group].encode(latent.rounded[group])
                                      : parts_.coders[group].encode(latent.rounded[group], latent.context_of(group));
}

std::string LearnedCodec::encode(const CodedRun& run) const {
    const Latent latent = quantise(run);
    std::vector<std::string> all(latent.rounded.size());
    parallel_tasks(static_cast<int64_t>(all.size()),
                   [&](int64_t group) { all[static_cast<size_t>(group)] = coded(latent, static_cast<size_t>(group)); });
    for (const at::Tensor& wider : latent.wider) all.push_back(AgreedIntegers::close_calls(wider));
    if (latent.coarser.defined()) all.push_back(parts_.transform->importance()->encode(latent.coarser));
    return joined_parts(all);
}

StateRows LearnedCodec::decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const {
    const at::NoGradGuard no_grad;
    const TokenImportance* importance = parts_.transform->importance();
    const auto count = static_cast<int64_t>(tokens.size());
    const size_t groups = parts_.transform->groups().size();
    const std::vector<std::string> all = split_parts(bytes, groups * (foretold() ? 2 : 1) + (importance ? 1 : 0));
    const at::Tensor coarser = importance ? importance->decode(all.back(), count) : at::Tensor();
    std::vector<ZReader> z;
    for (size_t g = 0; g < groups; ++g)
        z.emplace_back(parts_, g, all[g], count, foretold() ? &all[groups + g] : nullptr);
    const int64_t rows = parts_.network->settings().recurrent ? 1 : count;
    const auto blocks = Walk(parts_, tokens, nullptr, coarser)
                            .run([&](size_t g, const at::Tensor&, const at::Tensor& own_coarser,
                                     const at::Tensor& wider) { return z[g].next(rows, own_coarser, wider); });
    for (const ZReader& one : z) one.finish();
    return parts_.transform->features().rows(blocks, tokens);
}

std::shared_ptr<const LearnedCodec> LearnedCodec::at_step(double step, std::string name,
                                                          std::span<const CodedRun> sample) const {
    Parts made = parts_;
    made.step = step;
    made.name = std::move(name);
    // Coders are fitted to z, and z depends on the coders' cell means through what is decoded: twice is enough.
    for (int pass = 0; pass < 2; ++pass) {
        const LearnedCodec trial(made);
        std::vector<std::vector<at::Tensor>> exact(made.transform->groups().size()), rounded(exact.size()),
            wider(exact.size());
        std::vector<at::Tensor> coarser;
        for (const CodedRun& run : sample) {
            const Latent latent = trial.quantise(run);
            for (size_t g = 0; g < exact.size(); ++g) {
                exact[g].push_back(latent.exact[g]);
                rounded[g].push_back(latent.rounded[g]);
                if (!latent.wider.empty()) wider[g].push_back(AgreedIntegers::rounded(latent.wider[g]));
            }
            if (latent.coarser.defined()) coarser.push_back(latent.coarser);
        }
        const at::Tensor all = coarser.empty() ? at::Tensor() : at::cat(coarser);
        made.coders.clear();
        made.word_coders.clear();
        for (size_t g = 0; g < exact.size(); ++g)
            if (made.network->in_words())
                made.word_coders.push_back(WordCoder::fitted(at::cat(rounded[g])));
            else
                made.coders.push_back(CoefficientCoder::fitted(
                    at::cat(rounded[g]), at::cat(exact[g]),
                    {token_coarser(all, g), wider[g].empty() ? at::Tensor() : at::cat(wider[g])},
                    made.transform->rounding().pull));
    }
    return std::make_shared<LearnedCodec>(std::move(made));
}

void LearnedCodec::save(TensorFile& file, nlohmann::json& settings) const {
    nlohmann::json linear;
    parts_.transform->save(file, linear);
    const LearnedSettings& s = parts_.network->settings();
    settings = {{"kind", kind()},
                {"name", parts_.name},
                {"architecture", s.architecture},
                {"width", s.width},
                {"feed_forward", s.feed_forward},
                {"heads", s.heads},
                {"window", s.window},
                {"from_token", s.from_token},
                {"from_below", s.from_below},
                {"corrects", s.corrections()},
                {"recurrent", s.recurrent},
                {"quantizer", s.quantizer},
                {"prior", s.prior},
                {"step", parts_.step},
                {"transform", linear}};
    parts_.network->save(file);
    for (size_t g = 0; g < parts_.transform->groups().size(); ++g) {
        file.tensors["learned.deviation." + std::to_string(g)] = parts_.deviation[g];
        file.tensors["learned.component." + std::to_string(g)] = parts_.network->deviation()[g];
        if (parts_.network->in_words())
            parts_.word_coders[g].save(file, "learned.frequencies." + std::to_string(g));
        else
            parts_.coders[g].save(file, "learned.coder." + std::to_string(g));
    }
}

std::shared_ptr<const LearnedCodec> load_learned(const TensorFile& file, const nlohmann::json& settings,
                                                 const std::string& name, std::shared_ptr<const Weights> weights) {
    const Fields given(settings, name, "learned");
    if (given.text("kind") != "learned") given.refuse("kind", "is not learned");
    LearnedCodec::Parts parts;
    parts.transform = load_transform(file, given.any("transform"), name, std::move(weights));
    LearnedSettings s;
    s.architecture = given.text("architecture");
    if (std::find(std::begin(kArchitectures), std::end(kArchitectures), s.architecture) == std::end(kArchitectures))
        given.refuse("architecture", "is none that this Savepoint knows");
    s.part = to_string(parts.transform->part());
    s.group_size = parts.transform->settings().group_size;
    s.width = given.integer("width", 1, 8192);
    s.feed_forward = given.integer("feed_forward", 1, 65536);
    s.heads = given.integer("heads", 1, s.width);
    s.window = given.integer("window", 1, 1024);
    s.from_token = given.boolean("from_token");
    s.from_below = given.boolean("from_below");
    s.corrects = !given.has("corrects") || given.boolean("corrects");
    s.recurrent = given.boolean("recurrent");
    if (given.has("quantizer")) s.quantizer = given.text("quantizer");
    if (s.quantizer != "uniform" && s.quantizer != "vq") given.refuse("quantizer", "is none that this Savepoint knows");
    s.prior = given.has("prior") ? given.text("prior") : "fixed";  // files of before
    if (s.prior != "fixed" && s.prior != "context") given.refuse("prior", "is none that this Savepoint knows");
    parts.step = given.number("step");
    parts.name = given.text("name");
    if (!(parts.step > 0)) given.refuse("step", "is not above 0");
    if (s.width % s.heads != 0) given.refuse("heads", "does not divide width");
    const TensorFields fields(file, settings, "learned", name);
    LatentNetwork::Shape shape;
    shape.context = learned_context_size(s, parts.transform->features());
    for (size_t g = 0; g < parts.transform->groups().size(); ++g) {
        const std::string field = "learned.component." + std::to_string(g);
        shape.deviation.push_back(fields.tensor(field, {parts.transform->groups()[g].components()}));
        if (!(shape.deviation.back().min().item<float>() > 0)) fields.refuse(field, "is not above 0");
    }
    auto network = std::make_shared<LatentNetwork>(s, shape, 0);
    network->load(fields);
    parts.network = network;
    for (size_t g = 0; g < shape.deviation.size(); ++g) {
        const int64_t width = parts.transform->groups()[g].width();
        parts.deviation.push_back(fields.tensor("learned.deviation." + std::to_string(g), {width}));
        if (network->in_words()) {
            parts.word_coders.push_back(
                WordCoder::load(fields, "learned.frequencies." + std::to_string(g), network->codes(g).runs()));
            continue;
        }
        parts.coders.push_back(CoefficientCoder::load(fields, "learned.coder." + std::to_string(g)));
        if (parts.coders.back().columns() != shape.components(g))
            fields.refuse("learned", "has a coder for other columns");
    }
    return std::make_shared<LearnedCodec>(std::move(parts));
}

}  // namespace savepoint
