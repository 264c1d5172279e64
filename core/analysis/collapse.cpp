#include "core/analysis/collapse.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/model/error.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/reference_text.h"
#include "core/state/safetensors.h"

namespace savepoint {
namespace {

at::Tensor checked(const at::Tensor& rows) {
    if (!rows.defined() || rows.dim() != 2 || rows.size(0) < 2)
        throw InputError("collapse: at least two vectors are needed");
    return rows.to(at::kDouble);
}

at::Tensor centred_singular_values(const at::Tensor& rows) {
    const at::Tensor x = checked(rows);
    return std::get<1>(at::linalg_svd(x - x.mean(0, true), false));
}

double entropy_of(const at::Tensor& logits) {
    const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), -1);
    return -(log_p.exp() * log_p).sum().item<double>();
}

}  // namespace

std::string to_string(CollapseSubject subject) {
    switch (subject) {
        case CollapseSubject::latents:
            return "latents";
        case CollapseSubject::sidecar:
            return "sidecar";
        default:
            return "soft_prompts";
    }
}

CollapseSubject collapse_subject_from(const std::string& name) {
    for (const auto subject : {CollapseSubject::latents, CollapseSubject::sidecar, CollapseSubject::soft_prompts})
        if (name == to_string(subject)) return subject;
    throw InputError("\"" + name + "\" cannot be diagnosed; there are latents, sidecar and soft_prompts");
}

double mean_pairwise_cosine(const at::Tensor& rows) {
    const at::Tensor x = checked(rows);
    const at::Tensor unit = x / x.norm(2, 1, true).clamp_min(1e-300);
    const auto n = static_cast<double>(x.size(0));
    // The sum over all ordered pairs is the squared norm of the sum.
    return (unit.sum(0).square().sum().item<double>() - unit.square().sum().item<double>()) / (n * (n - 1));
}

std::vector<double> pca_variance(const at::Tensor& rows) {
    const at::Tensor variance = centred_singular_values(rows).square();
    const at::Tensor share = (variance / variance.sum().clamp_min(1e-300)).contiguous();
    return {share.data_ptr<double>(), share.data_ptr<double>() + share.numel()};
}

double effective_rank(const at::Tensor& rows) {
    const at::Tensor values = centred_singular_values(rows);
    const at::Tensor p = values / values.sum().clamp_min(1e-300);
    return std::exp(-at::xlogy(p, p).sum().item<double>());
}

double diversity(const std::vector<std::vector<int32_t>>& outputs) {
    if (outputs.empty()) throw InputError("collapse: there are no outputs");
    return static_cast<double>(std::set(outputs.begin(), outputs.end()).size()) / static_cast<double>(outputs.size());
}

// What one prompt gave: the subject's and the model's own.
struct CollapseRun::Prompt {
    at::Tensor vector, own_vector;  // [d]; undefined: there is none
    double norm = 0, own_norm = 0;  // whose ratio is the magnitude's
    std::vector<int32_t> output, expected;
    double entropy = NAN, own_entropy = NAN;  // of the first token, nats
    double forced = NAN, free = NAN;          // share of tokens as expected
};

struct CollapseRun::Soft {
    at::Tensor prompts, targets;  // [n, length, d_model]; [n, tokens] or undefined
    double token_norm = 0;        // mean norm of the model's own token embeddings
};

namespace {

// Greedy tokens from a distribution on, each fed back: what step(token) returns are the logits after it.
template <typename Step>
std::vector<int32_t> greedy(at::Tensor logits, int64_t tokens, const Step& step) {
    std::vector<int32_t> made;
    for (int64_t i = 0; i < tokens; ++i) {
        made.push_back(logits.argmax().item<TokenId>());
        if (i + 1 < tokens) logits = step(made.back());
    }
    return made;
}

// The share of `expected` that comes out most likely when each is given in turn, whatever came out before.
template <typename Step>
double teacher_forced(at::Tensor logits, const std::vector<int32_t>& expected, const Step& step) {
    int64_t right = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
        right += logits.argmax().item<TokenId>() == expected[i];
        if (i + 1 < expected.size()) logits = step(expected[i]);
    }
    return static_cast<double>(right) / static_cast<double>(expected.size());
}

double agreement(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
    int64_t same = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) same += a[i] == b[i];
    return static_cast<double>(same) / static_cast<double>(std::max<size_t>(1, b.size()));
}

}  // namespace

CollapseRun::CollapseRun(const Transformer& model, std::vector<std::vector<TokenId>> prefixes,
                         std::shared_ptr<const Sidecar> sidecar, CollapseSettings settings)
    : model_(model), prefixes_(std::move(prefixes)), sidecar_(std::move(sidecar)), settings_(std::move(settings)) {
    if (settings_.continuation < 1) throw InputError("collapse: at least one token has to be generated");
    if (settings_.subject != CollapseSubject::soft_prompts) {
        if (!sidecar_) throw InputError("collapse: no sidecar is fitted for this model; fit one first");
        if (prefixes_.size() < 2) throw InputError("collapse: at least two texts are needed");
        for (const auto& prefix : prefixes_)
            if (static_cast<int64_t>(prefix.size()) < sidecar_->info().exact_first_tokens + 2)
                throw InputError("collapse: prefixes longer than the exact first tokens are needed");
        all_ = static_cast<int64_t>(prefixes_.size());
        return;
    }
    const TensorFile file = read_safetensors(settings_.file);
    const auto prompts = file.tensors.find("prompts"), targets = file.tensors.find("target_ids");
    soft_ = std::make_unique<Soft>();
    if (prompts == file.tensors.end() || prompts->second.dim() != 3 || prompts->second.size(0) < 2 ||
        prompts->second.size(1) < 1 || prompts->second.size(2) != model.config().d_model)
        throw FileError(settings_.file, "prompts: [n, length, " + std::to_string(model.config().d_model) +
                                            "] of at least two soft prompts is needed");
    soft_->prompts = prompts->second.to(at::kFloat).contiguous();
    if (!at::isfinite(soft_->prompts).all().item<bool>())
        throw FileError(settings_.file, "prompts: are not all finite");
    if (soft_->prompts.size(1) + settings_.continuation > model.config().context)
        throw FileError(settings_.file, "prompts: are longer than the model's context");
    if (targets != file.tensors.end()) {
        const at::Tensor ids = targets->second.to(at::kLong);
        if (ids.dim() != 2 || ids.size(0) != soft_->prompts.size(0) || ids.size(1) < 1 ||
            ids.min().item<int64_t>() < 0 || ids.max().item<int64_t>() >= model.config().vocab)
            throw FileError(settings_.file, "target_ids: [n, tokens] of token ids is needed, a row for each prompt");
        soft_->targets = ids.narrow(1, 0, std::min(ids.size(1), settings_.continuation)).contiguous();
    }
    soft_->token_norm = model.weights().tensor("embed").norm(2, 1).mean().item<double>() * model.config().embed_scale;
    all_ = soft_->prompts.size(0);
}

CollapseRun::~CollapseRun() = default;

bool CollapseRun::step() {
    const auto next = static_cast<int64_t>(done_.size());
    if (next >= all_) return false;
    done_.push_back(soft_ ? soft(next) : own(prefixes_[static_cast<size_t>(next)]));
    return next + 1 < all_;
}

double CollapseRun::progress() const { return static_cast<double>(done_.size()) / static_cast<double>(all_); }

// Keys and values of all but the first tokens and the last come from z; the last token is run on them, so that the
// first distribution is already the subject's.
CollapseRun::Prompt CollapseRun::own(const std::vector<TokenId>& prefix) const {
    Prompt prompt;
    const auto tokens = static_cast<int64_t>(prefix.size()), exact = sidecar_->info().exact_first_tokens;
    const int64_t room = tokens + settings_.continuation;
    ForwardOptions plain;
    plain.capture = false;
    KvCache cache = model_.make_cache(room);
    const auto go_on = [&](TokenId token) { return model_.decode(cache, token, plain).logits[0]; };
    const ForwardOutput read = model_.prefill(cache, prefix);
    prompt.own_entropy = entropy_of(read.logits[0]);
    prompt.expected = greedy(read.logits[0], settings_.continuation, go_on);

    const StateRows rows = read.rows.slice(0, tokens);
    const Latent z = sidecar_->encode({rows.hidden, rows.key, rows.value, {}}, prefix);
    const StateRows decoded = sidecar_->decode(z);
    const at::Tensor own = rows.hidden[tokens - 1].flatten();
    prompt.own_vector = own;
    if (settings_.subject == CollapseSubject::latents) {
        prompt.vector = z.hidden[tokens - 1].flatten();
        const HiddenCodec& codec = sidecar_->hidden();
        prompt.norm = prompt.vector.norm().item<double>();
        prompt.own_norm =
            (codec.component_mean().square() + codec.component_std().square()).sum().sqrt().item<double>();
    } else {
        prompt.vector = decoded.hidden[tokens - 1].flatten();
        prompt.norm = prompt.vector.norm().item<double>();
        prompt.own_norm = own.norm().item<double>();
    }
    const auto resumed = [&] {
        cache.truncate(0);
        model_.restore(cache, {{}, rows.key.narrow(0, 0, exact), rows.value.narrow(0, 0, exact), {}});
        model_.restore(cache, {{},
                               decoded.key.narrow(0, exact, tokens - 1 - exact),
                               decoded.value.narrow(0, exact, tokens - 1 - exact),
                               {}});
        return model_.decode(cache, prefix.back(), plain).logits[0];
    };
    const at::Tensor first = resumed();
    prompt.entropy = entropy_of(first);
    prompt.output = greedy(first, settings_.continuation, go_on);
    prompt.free = agreement(prompt.output, prompt.expected);
    prompt.forced = teacher_forced(resumed(), prompt.expected, go_on);
    return prompt;
}

CollapseRun::Prompt CollapseRun::soft(int64_t index) const {
    Prompt prompt;
    const at::Tensor rows = soft_->prompts[index];
    std::vector<TokenId> fed;
    const auto logits = [&] {
        at::Tensor resid = rows;
        if (!fed.empty()) resid = at::cat({rows, model_.embed(fed)});
        return model_.unembed(model_.run_blocks(resid.unsqueeze(0), 0, {})[0][resid.size(0) - 1]);
    };
    const auto go_on = [&](TokenId token) {
        fed.push_back(token);
        return logits();
    };
    prompt.vector = rows.flatten();
    prompt.norm = rows.norm(2, 1).mean().item<double>();
    prompt.own_norm = soft_->token_norm;
    const at::Tensor first = logits();
    prompt.entropy = entropy_of(first);
    prompt.output = greedy(first, settings_.continuation, go_on);
    if (soft_->targets.defined()) {
        const at::Tensor ids = soft_->targets[index].contiguous();
        for (int64_t i = 0; i < ids.numel(); ++i) prompt.expected.push_back(ids[i].item<TokenId>());
        prompt.free = agreement(prompt.output, prompt.expected);
        fed.clear();
        prompt.forced = teacher_forced(first, prompt.expected, go_on);
    }
    return prompt;
}

namespace {

double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return values.empty() ? NAN : sum / static_cast<double>(values.size());
}

}  // namespace

CollapseReport CollapseRun::report() const {
    CollapseReport report;
    report.settings = settings_;
    report.prompts_done = static_cast<int64_t>(done_.size());
    std::vector<at::Tensor> vectors, own_vectors;
    std::vector<double> ratios, entropies, own_entropies, forced, free, first;
    for (const Prompt& prompt : done_) {
        vectors.push_back(prompt.vector);
        if (prompt.own_vector.defined()) own_vectors.push_back(prompt.own_vector);
        ratios.push_back(prompt.norm / std::max(1e-300, prompt.own_norm));
        entropies.push_back(prompt.entropy);
        if (!std::isnan(prompt.own_entropy)) own_entropies.push_back(prompt.own_entropy);
        report.outputs.push_back(prompt.output);
        if (prompt.expected.empty()) continue;
        report.expected.push_back(prompt.expected);
        first.push_back(prompt.output.front() == prompt.expected.front() ? 1 : 0);
        forced.push_back(prompt.forced);
        free.push_back(prompt.free);
    }
    if (done_.size() < 2) return report;
    const at::Tensor rows = at::stack(vectors);
    const at::Tensor own = own_vectors.size() > 1 ? at::stack(own_vectors) : at::Tensor();
    const std::vector<double> variance = pca_variance(rows);
    report.pca_variance.assign(variance.begin(),
                               variance.begin() + static_cast<ptrdiff_t>(std::min<size_t>(8, variance.size())));
    const double own_rank = own.defined() ? effective_rank(own) : NAN;
    const double rank_floor = 0.5 * (std::isnan(own_rank) ? static_cast<double>(done_.size() - 1) : own_rank);
    const double forced_share = mean_of(forced), gap = (forced_share - mean_of(free)) / std::max(1e-12, forced_share);
    char least[48];
    std::snprintf(least, sizeof least, "at least %.1f", rank_floor);
    report.metrics = {
        {"diversity", "diversity of outputs", diversity(report.outputs),
         own.defined() ? diversity(report.expected) : NAN, 0.6, INFINITY, "at least 0.6",
         "Different outputs over all of them. LatentWire's report: healthy above 60 %, collapsed below 20 %."},
        {"mean_cosine", "mean pairwise cosine", mean_pairwise_cosine(rows),
         own.defined() ? mean_pairwise_cosine(own) : NAN, -INFINITY, 0.5, "at most 0.5",
         "Of the vectors at the last token of different texts. LatentWire's report: healthy below 0.5, collapsed above "
         "0.95. Hidden states of a model point much the same way by nature: compare with the model's own."},
        {"pca_first", "variance of the first component", variance.front(),
         own.defined() ? pca_variance(own).front() : NAN, -INFINITY, 0.7, "at most 0.7",
         "Share of the variance in the first principal component. LatentWire's report: healthy below 70 %, collapsed "
         "above "
         "95 %."},
        {"effective_rank", "effective rank", effective_rank(rows), own_rank, rank_floor, INFINITY, least,
         "exp of the entropy of the singular values (Roy & Vetterli 2007), at most one less than there are texts. The "
         "report has no threshold: half of the model's own is asked for here, or half of what is possible."},
        {"magnitude_ratio", "magnitude ratio", mean_of(ratios), 1, 0.5, 1.5, "0.5 to 1.5",
         "Norm of the vectors over that of the true ones. LatentWire's report: 115 to 120 gave empty outputs, matched "
         "norms did not; 0.5 to 1.5 is the range that it tried."},
        {"first_token_accuracy", "first-token accuracy", mean_of(first), own.defined() ? 1 : NAN, 0.15, INFINITY,
         "at least 0.15",
         "How often the first token is the one that the model gives from its own state (soft prompts: the target). "
         "LatentWire's target: 15 %."},
        {"first_token_entropy", "first-token entropy, nats", mean_of(entropies), mean_of(own_entropies), -INFINITY, 7,
         "at most 7",
         "Of the first distribution, in nats. LatentWire's report: 2 to 4 is healthy for its short answers, above 7 is "
         "collapsed. Below 2 the model is only surer, so that 7 is the threshold."},
        {"exposure_gap", "exposure gap", gap, own.defined() ? 0 : NAN, -INFINITY, 0.5, "at most 0.5",
         "Share of the teacher-forced accuracy that is lost when the model goes on from its own tokens. LatentWire saw "
         "0.85 "
         "and asked for less than 0.5."}};
    return report;
}

std::vector<std::vector<TokenId>> collapse_texts(const Tokenizer& tokenizer, const CollapseSettings& settings) {
    if (settings.prompts < 2 || settings.prefix < 8)
        throw InputError("collapse: at least 2 texts of at least 8 tokens are needed");
    TokenSplit split = split_corpus(fortunes_corpus(), tokenizer, settings.prefix, settings.prefix,
                                    settings.prompts * settings.prefix, settings.seed);
    return std::move(split.held_out);
}

}  // namespace savepoint
