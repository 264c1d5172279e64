#include "core/analysis/patch_map.h"
#include "core/model/sampler.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

PatchRun prefilled(const std::string& text, const RowEdit* edit = nullptr) {
    PatchRun run;
    run.state.ids = shared_tokenizer().encode(text);
    run.end = static_cast<int64_t>(run.state.ids.size()) - 1;
    KvCache cache = shared_model().make_cache(run.end + 1);
    ForwardOptions options;
    options.edit = edit;
    run.state.rows = shared_model().prefill(cache, run.state.ids, options).rows;
    if (edit) run.edits = {*edit};
    return run;
}

const PatchRun& france() {
    static const PatchRun run = prefilled("The capital of France is the city of");
    return run;
}
const PatchRun& germany() {
    static const PatchRun run = prefilled("The capital of Germany is the city of");
    return run;
}

Patching between(const PatchRun& source, const PatchRun& destination) {
    return Patching(shared_model(), source, destination, align(source.state.ids, destination.state.ids).pairs);
}

std::string hook_of(const PatchCell& cell) {
    const std::string name = "blocks." + std::to_string(cell.layer) + ".";
    if (cell.site == PatchSite::resid) return name + "hook_resid_post";
    if (cell.site == PatchSite::attention) return name + "hook_attn_out";
    return name + (cell.site == PatchSite::mlp ? "hook_mlp_out" : "attn.hook_z");
}

// The whole destination again, one cell, all tokens, from the first block on.
at::Tensor one_by_one(const PatchRun& source, const PatchRun& destination, const std::vector<AlignedPair>& pairs,
                      const PatchCell& cell) {
    at::Tensor from;
    Hooks read;
    read.read(hook_of(cell), [&](const at::Tensor& a) { from = a.clone(); });
    ForwardOptions options;
    options.capture = false;
    options.hooks = &read;
    options.edit = source.edits.empty() ? nullptr : &source.edits.front();
    KvCache cache = shared_model().make_cache(64);
    shared_model().prefill(cache, source.state.ids, options);
    Hooks put;
    put.add(hook_of(cell), [&](const at::Tensor& a) {
        at::Tensor changed = a.clone();
        for (const int64_t index : cell.pairs) {
            const AlignedPair& pair = pairs[static_cast<size_t>(index)];
            at::Tensor row = changed[0][pair.b], value = from[0][pair.a];
            if (cell.site == PatchSite::head) row = row[cell.head], value = value[cell.head];
            row.copy_(value);
        }
        return changed;
    });
    options.hooks = &put;
    options.edit = destination.edits.empty() ? nullptr : &destination.edits.front();
    KvCache again = shared_model().make_cache(64);
    return shared_model().prefill(again, destination.state.ids, options).logits[0];
}

PatchCell cell(PatchSite site, int64_t layer, std::vector<int64_t> pairs, int64_t head = -1) {
    return {site, layer, head, std::move(pairs)};
}

RowEdit edit_at(int64_t position) {
    RowEdit edit;
    edit.position = position;
    edit.hidden_block = 9;
    edit.hidden = at::full({576}, 0.3);
    edit.kv = {{4, at::full({3, 64}, 0.2), at::full({3, 64}, -0.1)}};
    return edit;
}

}  // namespace

TEST_CASE("patching: a cell with its own value changes nothing") {
    const Patching patching = between(germany(), germany());
    std::vector<PatchCell> cells{cell(PatchSite::resid, 6, {3}), cell(PatchSite::attention, 6, {2, 3, 4}),
                                 cell(PatchSite::mlp, 6, {5}), cell(PatchSite::head, 6, {4}, 7)};
    for (const PatchCell& one : cells) CHECK_FALSE(patching.differs(one));
    const at::Tensor logits = patching.logits(cells);
    for (int64_t i = 0; i < 4; ++i) CHECK(largest_difference(logits[i], patching.destination_logits()) < 1e-3f);
}

TEST_CASE("patching: everything at one layer gives the other run's logits") {
    const Patching patching = between(france(), germany());
    REQUIRE(patching.usable_pairs() == germany().end + 1);
    CHECK(largest_difference(patching.source_logits(), patching.destination_logits()) > 1);
    std::vector<int64_t> all;
    for (int64_t pair = 0; pair < patching.usable_pairs(); ++pair) all.push_back(pair);
    for (const int64_t layer : {0, 11, 29}) {
        const std::vector<PatchCell> cells{cell(PatchSite::resid, layer, all)};
        CHECK(largest_difference(patching.logits(cells)[0], patching.source_logits()) < 2e-3f);
    }
}

TEST_CASE("patching: a batch of cells equals patching them one by one in whole runs") {
    const Patching patching = between(france(), germany());
    for (const int64_t layer : {0, 13, 28}) {
        const std::vector<PatchCell> cells{
            cell(PatchSite::resid, layer, {3}),     cell(PatchSite::resid, layer, {5}),
            cell(PatchSite::attention, layer, {4}), cell(PatchSite::mlp, layer, {3}),
            cell(PatchSite::mlp, layer, {3, 4, 7}), cell(PatchSite::head, layer, {3, 4, 5, 6, 7}, 8)};
        const at::Tensor logits = patching.logits(cells);
        for (size_t i = 0; i < cells.size(); ++i)
            CHECK(largest_difference(logits[static_cast<int64_t>(i)],
                                     one_by_one(france(), germany(), patching.pairs(), cells[i])) < 2e-3f);
    }
}

TEST_CASE("patching: an intervention in either run stays in place") {
    const RowEdit edit = edit_at(5);
    const PatchRun edited = prefilled("The capital of Germany is the city of", &edit);
    const Patching same = between(edited, edited);
    CHECK(largest_difference(same.destination_logits(), between(germany(), germany()).destination_logits()) > 0.1f);
    const std::vector<PatchCell> own{cell(PatchSite::resid, 2, {2}), cell(PatchSite::mlp, 2, {2})};
    const at::Tensor logits = same.logits(own);
    for (int64_t i = 0; i < 2; ++i) CHECK(largest_difference(logits[i], same.destination_logits()) < 1e-3f);

    const Patching into = between(france(), edited), from = between(edited, france());
    for (const auto& one :
         {cell(PatchSite::resid, 3, {3}), cell(PatchSite::mlp, 7, {4}), cell(PatchSite::head, 9, {5, 6}, 2)}) {
        CHECK(largest_difference(into.logits(std::span(&one, 1))[0], one_by_one(france(), edited, into.pairs(), one)) <
              2e-3f);
        CHECK(largest_difference(from.logits(std::span(&one, 1))[0], one_by_one(edited, france(), from.pairs(), one)) <
              2e-3f);
    }
}

TEST_CASE("patching: the heads of one layer token by token, each as it is patched by itself") {
    const Patching patching = between(france(), germany());
    const PatchTarget target = default_target(patching.source_logits(), patching.destination_logits());
    PatchSettings settings;
    settings.sites = {};
    settings.head_layer = 23;
    PatchMap map(patching, settings, target);
    while (map.step()) {
    }
    REQUIRE(map.maps().size() == 1);
    const PatchScores& heads = map.maps()[0];
    CHECK((heads.site == PatchSite::head && heads.head_layer == 23 && heads.of_pairs()));
    CHECK(heads.rows == 9);
    CHECK(heads.columns == patching.usable_pairs());
    const int64_t last = patching.usable_pairs() - 1;
    for (const auto& [head, pair] : {std::pair<int64_t, int64_t>{4, last}, {4, 3}, {0, last}, {7, 1}}) {
        const at::Tensor logits =
            one_by_one(france(), germany(), patching.pairs(), cell(PatchSite::head, 23, {pair}, head));
        const PatchScore expected = patch_score(patching.source_logits(), logits, target);
        const auto at = static_cast<size_t>(head * heads.columns + pair);
        CHECK(std::abs(heads.logit_difference[at] - expected.logit_difference) < 4e-3f);
        CHECK(std::abs(heads.kl[at] - expected.kl) < 2e-3f);
    }
    settings.head_layer = 30;
    CHECK_THROWS_AS(PatchMap(patching, settings, target), InputError);
}

TEST_CASE("patching: the map holds every cell's score, whatever the batches; what does not differ is not run") {
    const Patching patching = between(france(), germany());
    const PatchTarget target = default_target(patching.source_logits(), patching.destination_logits());
    CHECK(shared_tokenizer().piece(target.target) == " Paris");
    CHECK(shared_tokenizer().piece(target.distractor) == " Berlin");
    std::vector<std::vector<PatchScores>> found;
    for (const int64_t rows : {8, 300}) {
        PatchSettings settings;
        settings.rows_at_once = rows;
        settings.sites = {PatchSite::resid, PatchSite::head};
        PatchMap map(patching, settings, target);
        CHECK(map.source().logit_difference > map.destination().logit_difference + 2);
        CHECK(map.source().kl == doctest::Approx(0).epsilon(1e-5));
        double before = -1;
        while (map.step()) {
            CHECK(map.progress() > before);
            before = map.progress();
        }
        CHECK(map.progress() == 1);
        // The three tokens before the country are the same in both runs.
        const int64_t different = 30 * (patching.usable_pairs() - 3) + 30 * 9;
        CHECK(map.cells_run() <= different);
        CHECK(map.cells_run() > different - 10);  // some heads look at nothing but the first token
        for (int64_t pair = 0; pair < 3; ++pair)
            CHECK(map.maps()[0].logit_difference[static_cast<size_t>(4 * map.maps()[0].columns + pair)] ==
                  map.destination().logit_difference);
        found.push_back(map.maps());
    }
    for (size_t m = 0; m < 2; ++m)
        for (size_t i = 0; i < found[0][m].kl.size(); ++i) {
            CHECK(found[0][m].logit_difference[i] == doctest::Approx(found[1][m].logit_difference[i]).epsilon(2e-3));
            CHECK(std::abs(found[0][m].kl[i] - found[1][m].kl[i]) < 2e-3f);
        }
    const PatchScores& resid = found[0][0];
    for (const auto& [layer, pair] : {std::pair<int64_t, int64_t>{2, 3}, {20, 7}, {15, 4}}) {
        const at::Tensor logits =
            one_by_one(france(), germany(), patching.pairs(), cell(PatchSite::resid, layer, {pair}));
        const PatchScore expected = patch_score(patching.source_logits(), logits, target);
        const auto at = static_cast<size_t>(layer * resid.columns + pair);
        CHECK(std::abs(resid.logit_difference[at] - expected.logit_difference) < 4e-3f);
        CHECK(std::abs(resid.kl[at] - expected.kl) < 2e-3f);
    }
    // The country decides below, the last token above.
    const auto recovered = [&](int64_t layer, int64_t pair) {
        return resid.logit_difference[static_cast<size_t>(layer * resid.columns + pair)];
    };
    CHECK(recovered(1, 3) > recovered(28, 3) + 1);
    CHECK(recovered(28, patching.usable_pairs() - 1) > recovered(1, patching.usable_pairs() - 1) + 1);
}

TEST_CASE("patching: what cannot be patched is refused with the reason") {
    const Patching patching = between(france(), germany());
    CHECK_THROWS_AS(patching.logits(std::vector{cell(PatchSite::resid, 30, {0})}), InputError);
    CHECK_THROWS_AS(patching.logits(std::vector{cell(PatchSite::head, 3, {0}, 9)}), InputError);
    CHECK_THROWS_AS(patching.logits(std::vector{cell(PatchSite::mlp, 3, {99})}), InputError);
    CHECK_THROWS_AS(patching.logits(std::vector{cell(PatchSite::mlp, 3, {1}), cell(PatchSite::mlp, 4, {1})}),
                    InputError);
    CHECK_THROWS_AS(PatchMap(patching, {}, {5, 5}), InputError);
    CHECK_THROWS_AS(patch_site_from("nothing"), InputError);
    PatchRun outside = france();
    outside.end = 99;
    CHECK_THROWS_AS(between(outside, germany()), InputError);
}
