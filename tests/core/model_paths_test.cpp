// Whole, chunked, token by token, batched, restored, edited: the same model by every way in.
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

struct Run {
    at::Tensor logits;
    StateRows rows;
    KvCache cache;
};

Run prefilled(const std::vector<TokenId>& ids, int64_t capacity = 128) {
    KvCache cache = shared_model().make_cache(capacity);
    ForwardOutput output = shared_model().prefill(cache, ids);
    return {output.logits, output.rows, std::move(cache)};
}

std::vector<at::Tensor> continued(KvCache& cache, const std::vector<TokenId>& ids) {
    std::vector<at::Tensor> logits;
    for (const TokenId id : ids) logits.push_back(shared_model().decode(cache, id).logits);
    return logits;
}

void check_same_bits(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i], b[i]));
}

// Shares the saved state's cache, as it is before the edited token.
struct EditCase {
    KvCache cache;
    StateRows saved;
    TokenId token = 0;
    RowEdit edit;
};

EditCase edit_case(RowEdit edit) {
    const std::vector<TokenId> ids = first_ids(41);
    EditCase result{prefilled({ids.begin(), ids.end() - 1}).cache, {}, ids.back(), std::move(edit)};
    result.edit.position = 40;
    result.saved = shared_model().decode(result.cache, result.token).rows;
    result.cache.truncate(40);
    return result;
}

void check_from_saved(EditCase c) {
    ForwardOptions options;
    options.edit = &c.edit;
    const ForwardOutput whole = shared_model().decode(c.cache, c.token, options);
    const at::Tensor after_whole = shared_model().decode(c.cache, 42).logits;
    c.cache.truncate(40);
    const ForwardOutput partial = shared_model().decode_from_saved(c.cache, c.token, c.saved, c.edit);
    CHECK(c.cache.length() == 41);
    CHECK(same_bits(whole.logits, partial.logits));
    CHECK(same_bits(whole.rows.hidden, partial.rows.hidden));
    CHECK(same_bits(whole.rows.key, partial.rows.key));
    CHECK(same_bits(whole.rows.value, partial.rows.value));
    CHECK(same_bits(after_whole, shared_model().decode(c.cache, 42).logits));
}

}  // namespace

TEST_CASE("model: whole, chunked and token by token agree") {
    const std::vector<TokenId> ids = first_ids(100);
    const Run whole = prefilled(ids);
    KvCache cache = shared_model().make_cache(8);
    const ForwardOutput chunked = shared_model().prefill_chunked(cache, ids, 33);
    CHECK(cache.length() == 100);
    CHECK(largest_difference(chunked.logits, whole.logits) < 1e-3f);
    CHECK(chunked.rows.tokens() == 100);
    CHECK(largest_difference(chunked.rows.value, whole.rows.value) < 1e-3f);
    KvCache stepped = shared_model().make_cache(8);
    at::Tensor logits;
    std::vector<StateRows> rows;
    for (const TokenId id : ids) {
        ForwardOutput output = shared_model().decode(stepped, id);
        logits = output.logits;
        rows.push_back(output.rows);
    }
    CHECK(largest_difference(logits, whole.logits) < 1e-3f);
    CHECK(largest_difference(concat(rows).key, whole.rows.key) < 1e-3f);
    CHECK(largest_difference(stepped.keys(7).narrow(2, 0, 100), whole.cache.keys(7).narrow(2, 0, 100)) < 1e-3f);
}

TEST_CASE("model: batches agree with single sequences") {
    const std::vector<TokenId> ids = first_ids(60);
    const std::vector<TokenId> first(ids.begin(), ids.begin() + 30), second(ids.begin() + 30, ids.end());
    ForwardOptions options;
    options.logits = Logits::all;
    const ForwardOutput both = shared_model().forward_batch({first, second}, options);
    CHECK(both.logits.size(0) == 60);
    CHECK(both.rows.tokens() == 60);
    const Run alone = prefilled(second);
    CHECK(largest_difference(both.logits[59], alone.logits[0]) < 1e-3f);
    CHECK(largest_difference(both.rows.slice(30, 30).key, alone.rows.key) < 1e-3f);

    KvCache repeated = alone.cache.repeat(2, 4);
    const std::vector<TokenId> branches = {11, 12};
    const at::Tensor stepped = shared_model().decode_batch(repeated, branches).logits;
    KvCache single = alone.cache;
    CHECK(largest_difference(stepped[1], shared_model().decode(single, 12).logits[0]) < 1e-3f);
    options.logits = Logits::none;
    CHECK(!shared_model().forward_batch({first}, options).logits.defined());
}

TEST_CASE("model: a restore is bit for bit") {
    const std::vector<TokenId> ids = first_ids(120), prompt(ids.begin(), ids.begin() + 80),
                               next(ids.begin() + 80, ids.begin() + 96);
    Run run = prefilled(prompt);
    const StateRows decoded = shared_model().decode(run.cache, 7).rows;
    const auto uninterrupted = continued(run.cache, next);
    KvCache restored = shared_model().make_cache(1);
    shared_model().restore(restored, run.rows.slice(0, 50));
    shared_model().restore(restored, run.rows.slice(50, 30));
    shared_model().restore(restored, decoded);
    CHECK(restored.length() == 81);
    for (int64_t layer : {0, 13, 29})
        CHECK(same_bits(restored.keys(layer).narrow(2, 0, 81), run.cache.keys(layer).narrow(2, 0, 81)));
    check_same_bits(continued(restored, next), uninterrupted);
}

TEST_CASE("model: restoring 1,000 tokens takes well under 20 ms") {
    const ModelConfig& config = shared_model().config();
    StateRows rows;
    rows.key = at::randn({1000, config.layers, config.kv_heads, config.head_dim});
    rows.value = at::randn({1000, config.layers, config.kv_heads, config.head_dim});
    KvCache cache = shared_model().make_cache(1024);
    double best = 1e9;
    for (int attempt = 0; attempt < 5; ++attempt) {
        cache.truncate(0);
        const auto start = std::chrono::steady_clock::now();
        shared_model().restore(cache, rows);
        best =
            std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    MESSAGE("restore of 1,000 tokens: " << best << " ms");
    WARN(best < 20.0);
}

TEST_CASE("model: rotate() of saved keys is what the cache holds") {
    Run run = prefilled(first_ids(20));
    const at::Tensor rotated = shared_model().rotate(run.rows.key, 0);
    CHECK(same_bits(rotated.select(1, 5).transpose(0, 1), run.cache.keys(5)[0].narrow(1, 0, 20)));
}

TEST_CASE("model: an edit from the saved state equals the whole step with it") {
    const ModelConfig& config = shared_model().config();
    RowEdit hidden;
    hidden.hidden_block = 12;
    hidden.hidden = at::randn({config.d_model});
    RowEdit last = hidden;
    last.hidden_block = config.layers - 1;
    RowEdit kv;
    for (const int64_t block : {3, 4, 20})
        kv.kv.push_back(
            {block, at::randn({config.kv_heads, config.head_dim}), at::randn({config.kv_heads, config.head_dim})});
    RowEdit both = kv;
    both.hidden_block = 2;
    both.hidden = hidden.hidden;
    for (const RowEdit& edit : {hidden, last, kv, both}) check_from_saved(edit_case(edit));
}

TEST_CASE("model: an edit with the saved values changes nothing") {
    EditCase c = edit_case({});
    ForwardOptions options;
    const at::Tensor plain = shared_model().decode(c.cache, c.token).logits;
    c.cache.truncate(40);
    RowEdit same;
    same.position = 40;
    same.hidden_block = 9;
    same.hidden = c.saved.hidden[0][9];
    same.kv.push_back({15, c.saved.key[0][15], c.saved.value[0][15]});
    CHECK(same_bits(shared_model().decode_from_saved(c.cache, c.token, c.saved, same).logits, plain));
}

TEST_CASE("model: unembed of a captured row is the logits of its pass, bit for bit") {
    Run run = prefilled(first_ids(30));
    CHECK(same_bits(shared_model().unembed(run.rows.hidden.select(1, 29)[29]), run.logits[0]));
    CHECK(same_bits(run.rows.last, run.rows.hidden.select(1, 29)));
    const ForwardOutput step = shared_model().decode(run.cache, 99);
    CHECK(same_bits(shared_model().unembed(step.rows.last), step.logits));
    const at::Tensor many = shared_model().unembed(run.rows.last);
    CHECK(same_bits(many[29], run.logits[0]));
    CHECK(same_bits(many[3], shared_model().unembed(run.rows.last[3])));
}

TEST_CASE("model: queries from saved rows are hook_q") {
    const std::vector<TokenId> ids = first_ids(12);
    Hooks hooks;
    at::Tensor seen;
    hooks.read("blocks.17.attn.hook_q", [&](const at::Tensor& q) { seen = q[0].clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    KvCache cache = shared_model().make_cache(12);
    const ForwardOutput output = shared_model().prefill(cache, ids, options);
    CHECK(largest_difference(shared_model().queries(output.rows, ids).select(1, 17), seen) < 1e-4f);
}

TEST_CASE("model: queries asked for while running are those of the saved rows, and change nothing else") {
    ForwardOptions asking;
    asking.queries = true;
    const std::vector<TokenId> ids = first_ids(300);  // more than one chunk of attention
    KvCache cache = shared_model().make_cache(304), other = shared_model().make_cache(304);
    const ForwardOutput prefill = shared_model().prefill_chunked(cache, ids, 128, asking);
    CHECK(prefill.query.sizes() == at::IntArrayRef({300, 30, 9, 64}));
    CHECK(largest_difference(prefill.query, shared_model().queries(prefill.rows, ids)) < 1e-4f);
    const ForwardOutput silent = shared_model().prefill_chunked(other, ids, 128);
    CHECK_FALSE(silent.query.defined());
    CHECK(same_bits(silent.logits, prefill.logits));

    const std::vector<TokenId> next = {99};
    const ForwardOutput step = shared_model().decode(cache, next[0], asking);
    CHECK(step.query.sizes() == at::IntArrayRef({1, 30, 9, 64}));
    CHECK(largest_difference(step.query, shared_model().queries(step.rows, next)) < 1e-3f);
    const ForwardOutput silent_step = shared_model().decode(other, next[0]);
    CHECK_FALSE(silent_step.query.defined());
    CHECK(same_bits(silent_step.logits, step.logits));
}

TEST_CASE("model: what cannot be done is refused, and the cache stays as it was") {
    KvCache cache = shared_model().make_cache(4);
    const std::vector<TokenId> none, wild = {49152}, fine = {1};
    CHECK_THROWS_AS(shared_model().prefill(cache, none), InputError);
    CHECK_THROWS_AS(shared_model().prefill(cache, wild), InputError);
    CHECK_THROWS_AS(shared_model().decode(cache, -1), InputError);
    const std::vector<TokenId> long_text(8193, 5);
    CHECK_THROWS_AS(shared_model().prefill(cache, long_text), InputError);
    RowEdit edit;
    edit.position = 3;
    edit.hidden_block = 1;
    ForwardOptions options;
    options.edit = &edit;
    CHECK_THROWS_AS(shared_model().decode(cache, 1, options), InputError);
    CHECK_THROWS_AS(shared_model().prefill_chunked(cache, std::vector<TokenId>(50, 3), 10, {},
                                                   [](int64_t done) { return done < 20; }),
                    Cancelled);
    CHECK(cache.length() == 0);
}

TEST_CASE("model: OMP_NUM_THREADS lowers the default number of threads, an asked number does not heed it") {
    const int before = threads();
    const char* set = std::getenv("OMP_NUM_THREADS");
    const std::string kept = set ? set : "";
    const auto by_default = [](const char* wanted) {
        setenv("OMP_NUM_THREADS", wanted, 1);
        set_threads(0);
        return threads();
    };
    CHECK(by_default("1") == 1);
    CHECK(by_default("1000000") == usable_processors());
    CHECK(by_default("") == usable_processors());
    CHECK(by_default("none") == usable_processors());
    setenv("OMP_NUM_THREADS", "1", 1);
    set_threads(3);
    CHECK(threads() == 3);
    if (set)
        setenv("OMP_NUM_THREADS", kept.c_str(), 1);
    else
        unsetenv("OMP_NUM_THREADS");
    set_threads(before);
}

TEST_CASE("model: threads do not change the decode step") {
    const int before = threads();
    std::vector<at::Tensor> results;
    for (const int count : {1, 2, 3}) {
        set_threads(count);
        const Transformer model(shared_weights());
        KvCache cache = model.make_cache(128);
        at::Tensor logits;
        for (const TokenId id : first_ids(70)) logits = model.decode(cache, id).logits;
        results.push_back(logits);
    }
    set_threads(before);
    CHECK(same_bits(results[0], results[1]));
    CHECK(same_bits(results[0], results[2]));
}
