#pragma once

// Plain structs only: views include this file.

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace savepoint {

// What a learned codec is made of. Each architecture codes blocks in groups, and adds networks to the linear transform
// (codec_learned.h); they differ in what the networks see.
//   layer_specific  blocks one by one, a network each (Emanuel 2025, listing 1)
//   grouped         group_size blocks together, a network a group (listing 2)
//   unified         one network for all groups, told apart by an embedding, with attention over the groups of a token
//                   (listing 3)
//   conv            grouped, and a causal convolution over the tokens before (listing 4)
//   attention       grouped, and causal attention over the tokens before
struct LearnedSettings {
    std::string architecture = "attention";
    std::string part = "kv";  // or hidden, or full: one z for both
    int64_t group_size = 4;   // layer_specific: 1
    int64_t width = 256;      // of the networks' hidden rows
    int64_t feed_forward = 768;
    int64_t heads = 4;                          // attention
    int64_t window = 4;                         // conv: tokens that it spans, the present one among them
    bool from_token = true, from_below = true;  // what is predicted from: the token's embedding, the block below
    std::string quantizer = "uniform";          // of z: or vq, product codebooks (product_quantizer.h)
    // What a uniform z is entropy-coded with: p(z_t | what it is predicted from), whose widths the context network
    // foretells token by token; or fixed, a width for each component.
    std::string prior = "context";
    // Encoder and decoder networks, beside those that say what z is expected to be. They lower the squared error; of
    // keys and values they raise the KL, so that where nothing is said those go without.
    std::optional<bool> corrects;
    bool corrections() const { return corrects.value_or(part != "kv"); }
    bool recurrent = false;  // and from the group's own decoded state of the token before: E(x_t, z_{t-1}, h_t)
    double ratio = 16;       // times smaller than fp16, aimed at
    bool operator==(const LearnedSettings&) const = default;
};

// How it is trained. loss = D + lambda_rate R(z) + lambda_kl w KL: D the squared error of the coefficients in steps, in
// the transform's metric (block_features.h), which weighs hidden states by lambda_hidden and keys and values by
// lambda_kv; R(z) as `regularizer` says (latent_regularizer.h); KL in nats between the model's next-token distributions
// after the true and after the decoded cache, w the D over the KL of held-out text when that term comes on.
struct TrainingSettings {
    LearnedSettings codec;
    std::string corpus = "fortunes";  // or another of corpus_named()
    int64_t fit_tokens = 51200;       // drawn from it, gone through as often as `rounds` needs
    int64_t held_out_tokens = 3072;   // of sequences of prefix + followers: what the figures are from
    int64_t prefix = 192, followers = 64, exact_first = 4;
    double lambda_hidden = 1, lambda_kv = 1;
    std::string regularizer = "rate";  // R(z): or kl, l2; commitment goes with vq alone
    double lambda_rate = 1.0 / 6;      // where a uniform grid of unit steps gives and takes alike
    double lambda_kl = 1;              // in the last kl_share of the rounds
    double kl_share = 0.2;
    int64_t rounds = 60;  // each runs the model on sequences_per_round and makes two passes over them
    int64_t sequences_per_round = 8;
    int64_t batch = 2, accumulate = 1;  // sequences of a gradient; gradients of a step
    bool checkpointing = false;  // the model's blocks run again in the backward pass of the KL term: memory for time
    int64_t progressive_rounds = 6;  // in which groups join from the lowest upward
    double own_share = 0.5;  // recurrent: of the tokens, those that see the decoded state before them; grows from 0
    double learning_rate = 1.5e-3, weight_decay = 0.01, clip = 1;
    int64_t warmup_rounds = 3;
    // Rounds; looks without a better held-out KL at equal bytes (of hidden states: loss) before it stops. The best is
    // kept.
    int64_t validate_every = 5, patience = 4;
    std::vector<double> bracket = {0.9, 1.15};  // multiples of the ratio at which the plain transform is judged
    uint64_t seed = 1;
    bool operator==(const TrainingSettings&) const = default;
};

// What a round of training left: means over its steps, per token.
struct TrainingPoint {
    int64_t round = 0;
    double loss = 0, distortion = 0, rate_bits = 0, kl = NAN;  // distortion in squared steps; kl when that term is on
    double learning_rate = 0;
    // Of held-out text, when it was looked at: rate + distortion as in the loss, and KL after resuming.
    double held_out_loss = NAN, held_out_bits = NAN, held_out_kl = NAN;
    double words_used = NAN;         // vq: of a codebook's 256, the exponential of their entropy; mean
    std::vector<double> group_bits;  // by group, of the last look
};

}  // namespace savepoint
