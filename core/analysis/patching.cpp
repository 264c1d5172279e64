#include "core/analysis/patching.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr float kRounding = 1e-4f;  // of a vector's norm: the same numbers, computed in another order

std::string block_name(int64_t layer) { return "blocks." + std::to_string(layer) + "."; }

std::string hook_name(PatchSite site, int64_t layer) {
    switch (site) {
        case PatchSite::resid:
            return block_name(layer) + "hook_resid_post";
        case PatchSite::attention:
            return block_name(layer) + "hook_attn_out";
        case PatchSite::mlp:
            return block_name(layer) + "hook_mlp_out";
        default:
            return block_name(layer) + "attn.hook_z";
    }
}

void check_run(const PatchRun& run, const std::string& name) {
    check_run(run.state, name);
    if (run.end < 0 || run.end >= static_cast<int64_t>(run.state.ids.size()))
        throw InputError(name + ": token " + std::to_string(run.end) + " is not in a run of " +
                         std::to_string(run.state.ids.size()) + " tokens");
}

// Replaces one row of every sequence of the batch.
void put_row(Hooks& hooks, const std::string& name, int64_t token, const at::Tensor& row) {
    hooks.add(name, [token, row](const at::Tensor& activation) {
        at::Tensor changed = activation.clone();
        changed.select(1, token).copy_(row.unsqueeze(0));
        return changed;
    });
}

}  // namespace

Patching::Patching(const Transformer& model, PatchRun source, PatchRun destination, std::vector<AlignedPair> pairs)
    : model_(model), source_(std::move(source)), destination_(std::move(destination)), pairs_(std::move(pairs)) {
    check_run(source_, "source");
    check_run(destination_, "destination");
    while (usable_ < static_cast<int64_t>(pairs_.size()) && pairs_[static_cast<size_t>(usable_)].a <= source_.end &&
           pairs_[static_cast<size_t>(usable_)].b <= destination_.end)
        ++usable_;
    if (usable_ == 0) throw InputError("patching: no token before the outcome is aligned");
    of_source_ = captured(source_);
    of_destination_ = captured(destination_);
    const int64_t last = model.config().layers - 1;
    source_logits_ = model.unembed(source_.state.rows.hidden[source_.end][last]);
    destination_logits_ = model.unembed(destination_.state.rows.hidden[destination_.end][last]);
}

// The run again, held to its saved rows in every block: an intervention's too.
Patching::Activations Patching::captured(const PatchRun& run) const {
    const int64_t tokens = run.end + 1;
    const StateRows rows = run.state.rows.slice(0, tokens);
    Hooks hooks;
    std::vector<at::Tensor> attention, mlp, z;
    const auto hold = [&](const std::string& name, at::Tensor saved) {
        hooks.add(name, [saved = saved.unsqueeze(0)](const at::Tensor&) { return saved; });
    };
    const auto keep = [&](const std::string& name, std::vector<at::Tensor>& into) {
        hooks.read(name, [&into](const at::Tensor& a) { into.push_back(a[0].to(at::kCPU, at::kFloat).clone()); });
    };
    for (int64_t layer = 0; layer < model_.config().layers; ++layer) {
        hold(block_name(layer) + "attn.hook_k", rows.key.select(1, layer));
        hold(block_name(layer) + "attn.hook_v", rows.value.select(1, layer));
        hold(hook_name(PatchSite::resid, layer), rows.hidden.select(1, layer));
        keep(hook_name(PatchSite::attention, layer), attention);
        keep(hook_name(PatchSite::mlp, layer), mlp);
        keep(hook_name(PatchSite::head, layer), z);
    }
    model_.run_blocks(model_.embed(std::span(run.state.ids).first(static_cast<size_t>(tokens))).unsqueeze(0), 0, {},
                      &hooks);
    return {at::stack(attention, 1), at::stack(mlp, 1), at::stack(z, 1)};
}

at::Tensor Patching::value(const Activations& of, const StateRows& rows, const PatchCell& cell,
                           int64_t position) const {
    switch (cell.site) {
        case PatchSite::resid:
            return rows.hidden[position][cell.layer];
        case PatchSite::attention:
            return of.attention[position][cell.layer];
        case PatchSite::mlp:
            return of.mlp[position][cell.layer];
        default:
            return of.z[position][cell.layer][cell.head];
    }
}

void Patching::check(const PatchCell& cell) const {
    const ModelConfig& c = model_.config();
    if (cell.layer < 0 || cell.layer >= c.layers)
        throw InputError("patching: layer " + std::to_string(cell.layer) + " is not there");
    if (cell.site == PatchSite::head && (cell.head < 0 || cell.head >= c.heads))
        throw InputError("patching: head " + std::to_string(cell.head) + " is not there");
    if (cell.pairs.empty()) throw InputError("patching: a cell without tokens");
    for (const int64_t pair : cell.pairs)
        if (pair < 0 || pair >= usable_)
            throw InputError("patching: aligned token " + std::to_string(pair) + " is not before the outcome");
}

bool Patching::differs(const PatchCell& cell) const {
    check(cell);
    return std::any_of(cell.pairs.begin(), cell.pairs.end(), [&](int64_t index) {
        const AlignedPair& pair = pairs_[static_cast<size_t>(index)];
        const at::Tensor from = value(of_source_, source_.state.rows, cell, pair.a);
        const at::Tensor to = value(of_destination_, destination_.state.rows, cell, pair.b);
        return (from - to).norm().item<float>() > kRounding * to.norm().item<float>();
    });
}

int64_t Patching::tokens_run(const PatchCell& cell) const {
    check(cell);
    return destination_.end + 1 - pairs_[static_cast<size_t>(cell.pairs.front())].b;
}

void Patching::keep_edits(Hooks& hooks, int64_t layer, int64_t first, int64_t last) const {
    for (const RowEdit& edit : destination_.edits) {
        if (edit.position < first || edit.position > last) continue;
        for (const KvRow& row : edit.kv) {
            if (row.block < layer) continue;
            const auto shape = {model_.config().kv_heads, model_.config().head_dim};
            put_row(hooks, block_name(row.block) + "attn.hook_k", edit.position - first, row.key.reshape(shape));
            put_row(hooks, block_name(row.block) + "attn.hook_v", edit.position - first, row.value.reshape(shape));
        }
        if (edit.hidden_block >= layer)
            put_row(hooks, hook_name(PatchSite::resid, edit.hidden_block), edit.position - first,
                    edit.hidden.reshape({-1}));
    }
}

void Patching::put_cells(Hooks& hooks, std::span<const PatchCell> cells, int64_t first) const {
    std::map<PatchSite, std::vector<int64_t>> of_site;
    for (size_t i = 0; i < cells.size(); ++i) of_site[cells[i].site].push_back(static_cast<int64_t>(i));
    for (const auto& [site, members] : of_site) {
        hooks.add(hook_name(site, cells.front().layer), [this, cells, members = members, first](const at::Tensor& a) {
            at::Tensor changed = a.clone();
            for (const int64_t i : members) {
                const PatchCell& cell = cells[static_cast<size_t>(i)];
                for (const int64_t index : cell.pairs) {
                    const AlignedPair& pair = pairs_[static_cast<size_t>(index)];
                    at::Tensor row = changed[i][pair.b - first];
                    if (cell.site == PatchSite::head) row = row[cell.head];
                    row.copy_(value(of_source_, source_.state.rows, cell, pair.a));
                }
            }
            return changed;
        });
    }
}

at::Tensor Patching::logits(std::span<const PatchCell> cells) const {
    if (cells.empty()) throw InputError("patching: no cell is given");
    const int64_t layer = cells.front().layer, end = destination_.end;
    int64_t first = end;
    for (const PatchCell& cell : cells) {
        check(cell);
        if (cell.layer != layer) throw InputError("patching: cells of one batch must be of one layer");
        first = std::min(first, pairs_[static_cast<size_t>(cell.pairs.front())].b);
    }
    const int64_t tokens = end + 1 - first;
    const StateRows& rows = destination_.state.rows;
    const std::span<const TokenId> ids(destination_.state.ids);
    const at::Tensor resid = layer > 0
                                 ? rows.hidden.narrow(0, first, tokens).select(1, layer - 1)
                                 : model_.embed(ids.subspan(static_cast<size_t>(first), static_cast<size_t>(tokens)));
    Hooks hooks;
    keep_edits(hooks, layer, first, end);
    put_cells(hooks, cells, first);
    const at::Tensor batch =
        resid.unsqueeze(0).expand({static_cast<int64_t>(cells.size()), tokens, resid.size(1)}).contiguous();
    const StateRows past =
        first > 0 ? StateRows{{}, rows.key.narrow(0, 0, first), rows.value.narrow(0, 0, first), {}} : StateRows{};
    return model_.unembed(model_.run_blocks(batch, layer, past, &hooks).select(1, tokens - 1));
}

std::optional<int64_t> first_outcome(const StateRun& source, const StateRun& destination,
                                     const std::vector<AlignedPair>& pairs) {
    const int64_t last = source.rows.hidden.size(1) - 1;
    for (size_t i = 0; i < pairs.size(); ++i) {
        const auto a = static_cast<size_t>(pairs[i].a), b = static_cast<size_t>(pairs[i].b);
        if (!pairs[i].same || a + 1 >= source.ids.size() || b + 1 >= destination.ids.size()) continue;
        if (source.ids[a + 1] == destination.ids[b + 1]) continue;
        const at::Tensor from = source.rows.hidden[pairs[i].a][last], to = destination.rows.hidden[pairs[i].b][last];
        if ((from - to).norm().item<float>() > kRounding * to.norm().item<float>()) return static_cast<int64_t>(i);
    }
    return {};
}

}  // namespace savepoint
