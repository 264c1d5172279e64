// The numbers agree with Hugging Face transformers in float32, on every device that is here.
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr float kLogitTolerance = 2e-3f;

void check_top20(const at::Tensor& logits, const nlohmann::json& top20) {
    for (const auto& pair : top20) {
        const float expected = pair[1].get<float>();
        CHECK(std::abs(logits[pair[0].get<int64_t>()].item<float>() - expected) < kLogitTolerance);
    }
}

// Relative to the largest number of the row, as an absolute bound would mean nothing for a residual
// stream that grows from 1 to 1000.
void check_close(const at::Tensor& ours, const at::Tensor& theirs) {
    REQUIRE(ours.sizes() == theirs.sizes());
    CHECK(largest_difference(ours, theirs) < 1e-3f * theirs.abs().max().item<float>());
}

void check_rows(const StateRows& rows, const std::string& name, const std::vector<int64_t>& layers) {
    const Reference& reference = Reference::get();
    const at::Tensor resid = reference.tensor(name + ".resid"), k = reference.tensor(name + ".k"),
                     v = reference.tensor(name + ".v");
    const int64_t stored = resid.size(0), kv_stored = k.size(0);
    for (int64_t i = 0; i < stored; ++i) {
        const int64_t layer = stored == 31 ? i - 1 : (i == 3 ? 29 : layers[i] - 1);
        if (layer >= 0) check_close(rows.hidden.select(1, layer), resid[i]);
    }
    for (int64_t i = 0; i < kv_stored; ++i) {
        const int64_t layer = kv_stored == 30 ? i : layers[i];
        check_close(rows.key.select(1, layer), k[i]);
        check_close(rows.value.select(1, layer), v[i]);
    }
}

// Greedy decoding is comparable until the two best tokens are so close that either may win.
void check_greedy(const Transformer& model, const nlohmann::json& prompt) {
    const std::vector<TokenId> ids = ids_of(prompt);
    KvCache cache = model.make_cache(128);
    at::Tensor logits = model.prefill(cache, ids).logits[0];
    const auto tokens = prompt["greedy64"].get<std::vector<TokenId>>();
    const auto gaps = prompt["greedy64_gap"].get<std::vector<float>>();
    for (size_t step = 0; step < tokens.size() && gaps[step] >= 4e-3f; ++step) {
        const auto best = static_cast<TokenId>(logits.argmax().item<int64_t>());
        CHECK(best == tokens[step]);
        if (best != tokens[step]) return;
        ForwardOptions options;
        options.capture = false;
        logits = model.decode(cache, best, options).logits[0];
    }
}

void check_device(const Transformer& model) {
    for (const auto& prompt : Reference::get().json["prompts"]) {
        const std::vector<TokenId> ids = ids_of(prompt);
        CHECK(shared_tokenizer().encode(prompt["prompt"].get<std::string>()) == ids);
        KvCache cache = model.make_cache(static_cast<int64_t>(ids.size()));
        ForwardOptions options;
        options.logits = Logits::all;
        const ForwardOutput output = model.prefill(cache, ids, options);
        check_top20(output.logits[-1], prompt["top20"]);
        if (prompt.contains("top20_at"))
            for (const auto& [position, top20] : prompt["top20_at"].items())
                check_top20(output.logits[std::stoll(position)], top20);
        if (prompt.contains("tensors")) check_rows(output.rows, prompt["tensors"], {0, 10, 20, 29});
        if (prompt.contains("greedy64")) check_greedy(model, prompt);
    }
}

}  // namespace

TEST_CASE("model: parity with Hugging Face on the CPU") { check_device(shared_model()); }

TEST_CASE("model: parity with Hugging Face on CUDA") {
    if (devices().size() < 2) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    check_device(Transformer(shared_weights(), open_device("cuda")));
}

TEST_CASE("model: the mean log-probability of 1,000 tokens") {
    const auto& prompt = Reference::get().json["prompts"].back();
    const std::vector<TokenId> ids = ids_of(prompt);
    KvCache cache = shared_model().make_cache(1000);
    ForwardOptions options;
    options.logits = Logits::all;
    const at::Tensor log_p = at::log_softmax(shared_model().prefill(cache, ids, options).logits, -1);
    double sum = 0;
    for (size_t i = 1; i < ids.size(); ++i) sum += log_p[i - 1][ids[i]].item<float>();
    CHECK(sum / static_cast<double>(ids.size() - 1) ==
          doctest::Approx(prompt["mean_logprob"].get<double>()).epsilon(1e-4));
}
