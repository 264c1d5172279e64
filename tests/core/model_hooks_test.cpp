#include <map>
#include <set>

#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

at::Tensor logits_with(const Hooks* hooks, const RowEdit* edit = nullptr) {
    const std::vector<TokenId> ids = first_ids(10);
    KvCache cache = shared_model().make_cache(16);
    ForwardOptions options;
    options.hooks = hooks;
    options.edit = edit;
    options.capture = false;
    return shared_model().prefill(cache, ids, options).logits;
}

}  // namespace

TEST_CASE("hooks: every activation is there, in the shape that is promised") {
    const std::map<std::string, std::vector<int64_t>> shapes = {{"hook_embed", {1, 10, 576}},
                                                                {"ln_final.hook_normalized", {1, 1, 576}},
                                                                {"blocks.4.hook_resid_pre", {1, 10, 576}},
                                                                {"blocks.4.attn.hook_q", {1, 10, 9, 64}},
                                                                {"blocks.4.attn.hook_k", {1, 10, 3, 64}},
                                                                {"blocks.4.attn.hook_v", {1, 10, 3, 64}},
                                                                {"blocks.4.attn.hook_rot_q", {1, 10, 9, 64}},
                                                                {"blocks.4.attn.hook_rot_k", {1, 10, 3, 64}},
                                                                {"blocks.4.attn.hook_pattern", {1, 9, 10, 10}},
                                                                {"blocks.4.attn.hook_z", {1, 10, 9, 64}},
                                                                {"blocks.4.hook_attn_out", {1, 10, 576}},
                                                                {"blocks.4.hook_resid_mid", {1, 10, 576}},
                                                                {"blocks.4.hook_mlp_out", {1, 10, 576}},
                                                                {"blocks.29.hook_resid_post", {1, 10, 576}}};
    Hooks hooks;
    std::map<std::string, std::vector<int64_t>> seen;
    for (const auto& [name, shape] : shapes)
        hooks.read(name, [&seen, name = name](const at::Tensor& a) { seen[name] = a.sizes().vec(); });
    const at::Tensor logits = logits_with(&hooks);
    CHECK(seen == shapes);
    CHECK(largest_difference(logits, logits_with(nullptr)) < 1e-3f);
}

TEST_CASE("hooks: the pattern is causal and sums to one") {
    Hooks hooks;
    at::Tensor pattern;
    hooks.read("blocks.11.attn.hook_pattern", [&](const at::Tensor& a) { pattern = a.clone(); });
    logits_with(&hooks);
    CHECK(largest_difference(pattern.sum(-1), at::ones({1, 9, 10})) < 1e-5f);
    CHECK(pattern.triu(1).abs().max().item<float>() == 0);
}

TEST_CASE("hooks: replacing an activation by itself leaves the logits") {
    const at::Tensor plain = logits_with(nullptr);
    for (const char* name :
         {"attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k", "attn.hook_pattern",
          "attn.hook_z", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post"}) {
        Hooks hooks;
        hooks.add(std::string("blocks.8.") + name, [](const at::Tensor& a) { return a.clone(); });
        CHECK(largest_difference(logits_with(&hooks), plain) < 1e-4f);
    }
}

TEST_CASE("hooks: they run in their order, and a replacement matters") {
    Hooks hooks;
    float seen = 0;
    hooks.add("blocks.3.hook_mlp_out", [](const at::Tensor& a) { return at::zeros_like(a); });
    hooks.read("blocks.3.hook_mlp_out", [&](const at::Tensor& a) { seen = a.abs().max().item<float>(); });
    const at::Tensor ablated = logits_with(&hooks);
    CHECK(seen == 0);
    CHECK(largest_difference(ablated, logits_with(nullptr)) > 0.1f);
}

TEST_CASE("hooks: a RowEdit and hooks that do the same agree") {
    RowEdit edit;
    edit.position = 9;
    edit.hidden_block = 14;
    edit.hidden = at::randn({576});
    edit.kv.push_back({6, at::randn({3, 64}), at::randn({3, 64})});
    Hooks hooks;
    const auto replace = [](const at::Tensor& row) {
        return [row](const at::Tensor& a) {
            at::Tensor changed = a.clone();
            changed[0][9].copy_(row);
            return changed;
        };
    };
    hooks.add("blocks.14.hook_resid_post", replace(edit.hidden));
    hooks.add("blocks.6.attn.hook_k", replace(edit.kv[0].key));
    hooks.add("blocks.6.attn.hook_v", replace(edit.kv[0].value));
    const at::Tensor by_hooks = logits_with(&hooks);
    CHECK(largest_difference(by_hooks, logits_with(nullptr, &edit)) < 1e-4f);
    const std::vector<TokenId> ids = first_ids(10);
    KvCache cache = shared_model().make_cache(16);
    shared_model().prefill(cache, std::span(ids).first(9));
    ForwardOptions options;
    options.edit = &edit;
    CHECK(largest_difference(by_hooks, shared_model().decode(cache, ids[9], options).logits) < 1e-3f);
}

TEST_CASE("hooks: a wrong name or shape is refused") {
    for (const char* name : {"blocks.30.hook_resid_post", "blocks.-1.hook_resid_post", "blocks.1.hook_nothing",
                             "hook_q", "blocks.1", "blocks.1x.hook_resid_post"}) {
        Hooks hooks;
        hooks.read(name, [](const at::Tensor&) {});
        CHECK_THROWS_AS(logits_with(&hooks), InputError);
    }
    Hooks hooks;
    hooks.add("blocks.0.hook_resid_post", [](const at::Tensor& a) { return a.narrow(1, 0, 1); });
    CHECK_THROWS_AS(logits_with(&hooks), InputError);
}
