#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/long_runs.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// What a codec loses and costs on held-out sequences. NaN where it does not store that part.
struct CodecFigures {
    std::string name, kind;
    CodedPart part = CodedPart::kv;
    int64_t tokens = 0;          // of all prefixes, the exact first ones included
    double bytes_per_token = 0;  // of the whole prefix, everything counted, token ids too
    double ratio_fp16 = 0;       // fp16 bytes of the same part over that
    int64_t sidecar_bytes = 0;
    // Resuming from the decoded prefix, teacher forced: mean over the tokens that follow.
    double kl_nats = NAN, kl_p95 = NAN, top1_agreement = NAN, delta_nll = NAN;
    // Fraction of variance unexplained, tokens after the exact first ones, about the mean of all of them; mean over
    // layers. standardised: every dimension divided by its deviation first, so that a few large ones do not speak for
    // all.
    double hidden_fvu = NAN, k_fvu = NAN, v_fvu = NAN, hidden_fvu_standardised = NAN, hidden_cosine = NAN;
    double mid_layer_mse = NAN;  // of the middle block's states scaled to unit variance
    std::vector<double> hidden_fvu_layers, k_fvu_layers, v_fvu_layers;
    std::vector<double> hidden_mse_layers, k_mse_heads, v_mse_heads;  // heads: [layers * kv_heads]
    // |o - o^|^2 / |o|^2 of what attention makes of decoded keys and values (attention_output.h), for the exact queries
    // of the prefix's last tokens; mean over layers.
    double attention_error = NAN;
    std::vector<double> attention_error_layers;
    LongRunFigures long_runs;  // where they were asked for
    double encode_tokens_per_s = NAN, restore_tokens_per_s = NAN;
};
nlohmann::json described(const CodecFigures& figures);
CodecFigures codec_figures_from(const nlohmann::json& described, const std::string& file);  // throws FileError

// Sequences of prefix + followers tokens, run once exactly and then compared with any number of codecs.
// The prefix's first exact_first tokens are restored by replay of their ids, at no byte (run_codec.h).
class CodecEvaluation {
   public:
    struct Settings {
        int64_t prefix = 192, followers = 64, exact_first = 4;
        int64_t batch = 3;  // sequences that go through the model together
    };
    // Throws InputError when a sequence is not of prefix + followers tokens.
    CodecEvaluation(const Transformer& model, std::vector<std::vector<TokenId>> sequences, Settings settings);

    // The exact runs, a sequence a step.
    bool ready() const { return exact_.size() == sequences_.size(); }
    void prepare_step();
    void prepare() {
        while (!ready()) prepare_step();
    }
    double replay_tokens_per_s() const { return replayed_ / replay_seconds_; }
    const Settings& settings() const { return settings_; }
    int64_t sequences() const { return static_cast<int64_t>(sequences_.size()); }
    const std::vector<std::vector<TokenId>>& ids() const { return sequences_; }

   private:
    friend class CodecTrial;
    void finish_means();

    const Transformer& model_;
    std::vector<std::vector<TokenId>> sequences_;
    Settings settings_;
    std::vector<StateRows> exact_;       // of each prefix
    std::vector<at::Tensor> queries_;    // of the last tokens of each, after rotary embedding
    std::vector<at::Tensor> log_probs_;  // of each sequence's followers: [followers, vocab]
    at::Tensor hidden_sum_, square_sum_, key_sum_, value_sum_;
    at::Tensor hidden_mean_, hidden_variance_, key_mean_, value_mean_;
    double replayed_ = 0, replay_seconds_ = 0;
};

// One codec through an evaluation that is ready and outlives it, a sequence a step.
class CodecTrial {
   public:
    CodecTrial(const CodecEvaluation& evaluation, std::shared_ptr<const RunCodec> codec);
    ~CodecTrial();
    bool done() const { return next_ == evaluation_.sequences(); }
    void step();
    CodecFigures figures() const;  // of the sequences so far

   private:
    struct Totals;
    StateRows restored(int64_t sequence);
    void add_reconstruction(const StateRows& exact, const StateRows& decoded);
    void add_attention(const StateRows& decoded, size_t sequence);
    void add_resumed();

    const CodecEvaluation& evaluation_;
    std::shared_ptr<const RunCodec> codec_;
    std::unique_ptr<Totals> totals_;
    std::vector<StateRows> waiting_;  // decoded, to go through the model together
    int64_t next_ = 0;
};

}  // namespace savepoint
