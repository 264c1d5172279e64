// Gemma 3 270M: the numbers of Hugging Face transformers, and the same model by every way in, across its window.
#include "tests/core/gemma_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr float kLogitTolerance = 2e-3f;
constexpr int64_t kWindow = 512;

void check_top20(const at::Tensor& logits, const nlohmann::json& top20) {
    for (const auto& pair : top20)
        CHECK(std::abs(logits[pair[0].get<int64_t>()].item<float>() - pair[1].get<float>()) < kLogitTolerance);
    CHECK(logits.argmax().item<int64_t>() == top20[0][0].get<int64_t>());
}

void check_close(const at::Tensor& ours, const at::Tensor& theirs) {
    REQUIRE(ours.sizes() == theirs.sizes());
    for (int64_t row = 0; row < theirs.size(0); ++row)
        CHECK(largest_difference(ours[row], theirs[row]) < 1e-3f * theirs[row].abs().max().item<float>());
}

// hidden, key and value of the layers and positions in the fixture, and every 64th logit.
void check_rows(const Gemma& gemma, const Transformer& model, const nlohmann::json& prompt,
                const ForwardOutput& output) {
    const std::string name = prompt["name"];
    const auto layers = prompt["layers"].get<std::vector<int64_t>>();
    const at::Tensor at = at::tensor(prompt["positions"].get<std::vector<int64_t>>());
    const at::Tensor resid = gemma.reference.tensor(name + ".resid"), k = gemma.reference.tensor(name + ".k"),
                     v = gemma.reference.tensor(name + ".v");
    check_close(model.embed(ids_of(prompt)).cpu().index_select(0, at), resid[0]);
    for (size_t i = 0; i < layers.size(); ++i) {
        const auto row = static_cast<int64_t>(i);
        check_close(output.rows.hidden.select(1, layers[i]).index_select(0, at), resid[row + 1]);
        check_close(output.rows.key.select(1, layers[i]).index_select(0, at), k[row]);
        check_close(output.rows.value.select(1, layers[i]).index_select(0, at), v[row]);
    }
    const at::Tensor sample = gemma.reference.tensor(name + ".logits");
    const int64_t stride = gemma.reference.json["logit_stride"];
    int64_t row = 0;
    float worst = 0;
    for (const int64_t position : prompt["positions"]) {
        if (!prompt["top20_at"].contains(std::to_string(position))) continue;
        const at::Tensor ours = output.logits[position].slice(0, 0, std::nullopt, stride);
        worst = std::max(worst, largest_difference(ours, sample[row++]));
    }
    CHECK(row == sample.size(0));
    CHECK(worst < kLogitTolerance);
    MESSAGE(name << ": logits differ from Hugging Face's by up to " << worst);
}

void check_greedy(const Transformer& model, const nlohmann::json& prompt) {
    const std::vector<TokenId> ids = ids_of(prompt);
    KvCache cache = model.make_cache(static_cast<int64_t>(ids.size()) + 64);
    at::Tensor logits = model.prefill(cache, ids).logits[0];
    const auto tokens = prompt["greedy"].get<std::vector<TokenId>>();
    const auto gaps = prompt["greedy_gap"].get<std::vector<float>>();
    for (size_t step = 0; step < tokens.size() && gaps[step] >= 2 * kLogitTolerance; ++step) {
        const auto best = static_cast<TokenId>(logits.argmax().item<int64_t>());
        REQUIRE(best == tokens[step]);
        logits = model.decode(cache, best).logits[0];
    }
}

void check_device(const Gemma& gemma, const Transformer& model) {
    for (const auto& prompt : gemma.reference.json["prompts"]) {
        INFO(prompt["name"].get<std::string>());
        const std::vector<TokenId> ids = ids_of(prompt);
        KvCache cache = model.make_cache(static_cast<int64_t>(ids.size()));
        ForwardOptions options;
        options.logits = Logits::all;
        const ForwardOutput output = model.prefill(cache, ids, options);
        for (const auto& [position, top20] : prompt["top20_at"].items())
            check_top20(output.logits[std::stoll(position)], top20);
        if (prompt.contains("layers")) check_rows(gemma, model, prompt, output);
        if (prompt.contains("mean_logprob")) {
            const at::Tensor next = at::tensor(std::vector<int64_t>(ids.begin() + 1, ids.end())).unsqueeze(1);
            const at::Tensor log_p = at::log_softmax(output.logits.slice(0, 0, -1), -1).gather(1, next);
            CHECK(log_p.mean().item<double>() == doctest::Approx(prompt["mean_logprob"].get<double>()).epsilon(1e-4));
        }
        check_greedy(model, prompt);
    }
}

}  // namespace

TEST_CASE("gemma: the file's configuration") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const ModelConfig& c = gemma->model.config();
    CHECK(gemma->weights->sha256() == gemma->reference.json["sha256"].get<std::string>());
    CHECK(c.architecture == "gemma3");
    CHECK(c.layers == 18);
    CHECK(c.heads_per_kv() == 4);
    CHECK(c.head_dim == 256);
    CHECK(c.q_dim() == 1024);
    CHECK(c.d_model == 640);
    CHECK(c.sliding_window == kWindow);
    CHECK(c.is_local(4));
    CHECK(!c.is_local(5));
    CHECK(!c.is_local(17));
    CHECK(c.first_key(0, 511) == 0);
    CHECK(c.first_key(0, 512) == 1);
    CHECK(c.first_key(5, 5000) == 0);
}

TEST_CASE("gemma: the tokens of sentencepiece, and the text back byte for byte") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Tokenizer& tokenizer = gemma->tokenizer;
    for (const auto& prompt : gemma->reference.json["prompts"])
        CHECK(tokenizer.encode_start(prompt["prompt"].get<std::string>()) == ids_of(prompt));
    for (const std::string text :
         {"", " ", "a", "\n\n\t x", "naïve café — 日本語 🙂 Привет мир", "  two  spaces  ",
          " leading", "\n\n\n\n\n", "\u2581marks\u2581\u2581 and \u2581 spaces", "<table>user-defined</table>",
          "<bos>special<eos>", "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb", "rare \xf0\x93\x80\x80 sign",
          "tab\tcr\r\n", "e\xcc\x81"}) {
        CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
        CHECK(tokenizer.decode(tokenizer.encode(text, false)) == text);
    }
}

TEST_CASE("gemma: a sequence begins with BOS, once, and the default model's does not") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Tokenizer& tokenizer = gemma->tokenizer;
    REQUIRE(tokenizer.start().size() == 1);
    const TokenId bos = tokenizer.start()[0];
    CHECK(tokenizer.piece(bos) == "<bos>");
    CHECK(tokenizer.is_special(bos));
    CHECK(tokenizer.encode_start("hi")[0] == bos);
    CHECK(tokenizer.encode_start("<bos>hi") == tokenizer.encode_start("hi"));
    CHECK(tokenizer.encode("hi")[0] != bos);
    CHECK(!tokenizer.has_chat_template());
    CHECK(shared_tokenizer().start().empty());
    CHECK(shared_tokenizer().encode_start("hi") == shared_tokenizer().encode("hi"));
}

TEST_CASE("gemma: parity with Hugging Face on the CPU") {
    if (const Gemma* gemma = Gemma::get()) check_device(*gemma, gemma->model);
}

TEST_CASE("gemma: parity with Hugging Face on CUDA") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    if (devices().size() < 2) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    check_device(*gemma, Transformer(gemma->weights, open_device("cuda")));
}

TEST_CASE("gemma: whole, chunked and token by token agree, before and behind the window") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(640);
    KvCache cache = model.make_cache(640);
    ForwardOptions options;
    options.logits = Logits::all;
    const ForwardOutput whole = model.prefill(cache, ids, options);
    KvCache chunked = model.make_cache(8);
    const ForwardOutput parts = model.prefill_chunked(chunked, ids, 100, options);
    CHECK(largest_difference(parts.logits, whole.logits) < 1e-3f);
    CHECK(largest_difference(parts.rows.value, whole.rows.value) < 1e-3f);
    for (const int64_t first : {int64_t{0}, kWindow - 20, int64_t{600}}) {
        KvCache stepped = model.make_cache(8);
        if (first > 0) model.restore(stepped, whole.rows.slice(0, first));
        for (int64_t i = first; i < first + 40; ++i) {
            const ForwardOutput output = model.decode(stepped, ids[static_cast<size_t>(i)]);
            CHECK(largest_difference(output.logits[0], whole.logits[i]) < 1e-3f);
            CHECK(largest_difference(output.rows.key, whole.rows.key.narrow(0, i, 1)) < 1e-3f);
        }
    }
}

TEST_CASE("gemma: a restore is bit for bit, behind the window too") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(560);
    for (const size_t length : {size_t{60}, size_t{540}}) {
        KvCache cache = model.make_cache(640);
        const StateRows rows = model.prefill(cache, std::span(ids).first(length)).rows;
        KvCache restored = model.make_cache(1);
        model.restore(restored, rows);
        for (size_t i = length; i < length + 16; ++i)
            CHECK(same_bits(model.decode(restored, ids[i]).logits, model.decode(cache, ids[i]).logits));
        for (const int64_t layer : {0, 5, 17})
            CHECK(same_bits(restored.keys(layer).narrow(2, 0, static_cast<int64_t>(length)),
                            cache.keys(layer).narrow(2, 0, static_cast<int64_t>(length))));
        CHECK(same_bits(model.rotate(rows.key, 0).select(1, 5).transpose(0, 1),
                        cache.keys(5)[0].narrow(1, 0, static_cast<int64_t>(length))));
        CHECK(same_bits(model.rotate(rows.key, 0).select(1, 4).transpose(0, 1),
                        cache.keys(4)[0].narrow(1, 0, static_cast<int64_t>(length))));
    }
}

TEST_CASE("gemma: patterns end at the window in local blocks alone, and replacing them by themselves changes nothing") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const std::vector<TokenId> ids = gemma->long_ids(560);
    Hooks hooks;
    at::Tensor local, global;
    hooks.add("blocks.3.attn.hook_pattern", [&](const at::Tensor& a) { return local = a.clone(); });
    hooks.add("blocks.5.attn.hook_pattern", [&](const at::Tensor& a) { return global = a.clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    KvCache cache = gemma->model.make_cache(560), plain = gemma->model.make_cache(560);
    const at::Tensor logits = gemma->model.prefill(cache, ids, options).logits;
    CHECK(largest_difference(logits, gemma->model.prefill(plain, ids).logits) < 1e-3f);
    CHECK(largest_difference(local.sum(-1), at::ones({1, 4, 560})) < 1e-5f);
    CHECK(local.triu(1).abs().max().item<float>() == 0);
    CHECK(local.tril(-kWindow).abs().max().item<float>() == 0);
    CHECK(local.diagonal(-kWindow + 1, 2, 3).min().item<float>() > 0);
    CHECK(global.tril(-kWindow).abs().max().item<float>() > 0);
}

TEST_CASE("gemma: going on from saved keys and values, also where gradients flow, equals the whole run") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(560), after(ids.begin() + 530, ids.end());
    KvCache cache = model.make_cache(560);
    ForwardOptions options;
    options.logits = Logits::all;
    const ForwardOutput whole = model.prefill(cache, ids, options);
    const StateRows past = whole.rows.slice(0, 530);
    const at::Tensor key = past.key.unsqueeze(0).clone().set_requires_grad(true);
    const at::Tensor logits = model.logits_after(key, past.value.unsqueeze(0), {after});
    CHECK(largest_difference(logits.detach()[0], whole.logits.slice(0, 530)) < 1e-3f);
    logits[0][29].logsumexp(0).backward();
    const at::Tensor reach = key.grad()[0].abs().sum({2, 3});  // [past, layers]
    CHECK(reach.select(1, 17).narrow(0, 0, 20).sum().item<float>() > 0);
    CHECK(reach.select(1, 16).narrow(0, 0, 530 - kWindow + 1).sum().item<float>() == 0);
    CHECK(reach.select(1, 16)[100].item<float>() > 0);
}

TEST_CASE("gemma: an edit from the saved state equals the whole step with it, on every number of threads") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(531);
    RowEdit edit;
    edit.position = 530;
    edit.kv.push_back({8, at::randn({1, 256}), at::randn({1, 256})});
    edit.hidden_block = 9;
    edit.hidden = at::randn({640}) * 50;
    ForwardOptions options;
    options.edit = &edit;
    KvCache cache = model.make_cache(600);
    const StateRows before = model.prefill(cache, std::span(ids).first(530)).rows;
    const StateRows saved = model.decode(cache, ids[530]).rows;
    cache.truncate(530);
    const ForwardOutput whole = model.decode(cache, ids[530], options);
    cache.truncate(530);
    const ForwardOutput partial = model.decode_from_saved(cache, ids[530], saved, edit);
    CHECK(same_bits(whole.logits, partial.logits));
    CHECK(same_bits(whole.rows.hidden, partial.rows.hidden));
    CHECK(same_bits(whole.rows.key, partial.rows.key));
    const int threads_before = threads();
    for (const int count : {1, 3}) {
        set_threads(count);
        const Transformer other(gemma->weights);
        KvCache restored = other.make_cache(600);
        other.restore(restored, before);
        CHECK(same_bits(other.decode(restored, ids[530], options).logits, whole.logits));
    }
    set_threads(threads_before);
}

TEST_CASE("gemma: unembed and queries of saved rows are what the pass had") {
    const Gemma* gemma = Gemma::get();
    if (!gemma) return;
    const Transformer& model = gemma->model;
    const std::vector<TokenId> ids = gemma->long_ids(12);
    Hooks hooks;
    at::Tensor seen;
    hooks.read("blocks.7.attn.hook_q", [&](const at::Tensor& q) { seen = q[0].clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    KvCache cache = model.make_cache(16);
    const ForwardOutput output = model.prefill(cache, ids, options);
    CHECK(largest_difference(model.queries(output.rows, ids).select(1, 7), seen) < 1e-4f);
    CHECK(same_bits(model.unembed(output.rows.last[11]), output.logits[0]));
    options = {};
    options.queries = true;
    const std::vector<TokenId> next = {100};
    const ForwardOutput step = model.decode(cache, next[0], options);
    CHECK(same_bits(model.unembed(step.rows.last), step.logits));
    CHECK(largest_difference(step.query, model.queries(step.rows, next)) < 1e-3f);  // through the norm of each head
}
