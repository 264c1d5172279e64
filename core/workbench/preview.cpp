#include "core/workbench/preview.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/analysis/projection.h"
#include "core/model/sampler.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr int64_t kShown = 10;

// The part of z that the groups cover, flat, with the reference set's mean and std of the same numbers.
struct Flat {
    std::vector<at::Tensor> z, mean, std;
    void add(const at::Tensor& part, const at::Tensor& part_mean, const at::Tensor& part_std) {
        z.push_back(part.reshape({-1}));
        mean.push_back(part_mean.reshape({-1}));
        std.push_back(part_std.reshape({-1}));
    }
};

Flat touched_part(const Sidecar& sidecar, const std::vector<TouchedGroup>& groups, const Latent& latent) {
    const int64_t row = latent.tokens() - 1;
    const HiddenCodec& hidden = sidecar.hidden();
    Flat flat;
    for (const TouchedGroup& touched : groups) {
        const int64_t g = touched.group, used = hidden.components(g);
        if (touched.hidden)
            flat.add(latent.hidden[row][g].slice(0, 0, used), hidden.component_mean()[g].slice(0, 0, used),
                     hidden.component_unit()[g].slice(0, 0, used));
        if (sidecar.joint()) continue;
        const KvCodec& kv = sidecar.kv();
        for (const int64_t block : touched.blocks) {
            flat.add(latent.key[row][block], kv.key_mean()[block], kv.key_std()[block]);
            flat.add(latent.value[row][block], kv.value_mean()[block], kv.value_std()[block]);
        }
    }
    return flat;
}

double distance_of(const Sidecar& sidecar, const std::vector<TouchedGroup>& groups, const Latent& latent) {
    const Flat flat = touched_part(sidecar, groups, latent);
    if (flat.z.empty()) return NAN;
    return standardized_distance(at::cat(flat.z).unsqueeze(0), at::cat(flat.mean), at::cat(flat.std)).item<double>();
}

std::vector<PreviewRow> rows_of(const Desk& desk, const at::Tensor& before, const at::Tensor& control,
                                const at::Tensor& edited) {
    std::set<TokenId> shown;
    for (const at::Tensor* logits : {&before, &control, &edited})
        for (const Candidate& candidate : describe(*logits, kShown).top) shown.insert(candidate.id);
    const at::Tensor p = at::softmax(at::stack({before, control, edited}), 1).contiguous();
    const auto probability = p.accessor<float, 2>();
    std::vector<PreviewRow> rows;
    for (const TokenId id : shown)
        rows.push_back({id, token_text(desk, id), probability[0][id], probability[1][id], probability[2][id]});
    const auto most = [](const PreviewRow& row) { return std::max({row.before, row.control, row.edited}); };
    std::sort(rows.begin(), rows.end(), [&](const PreviewRow& a, const PreviewRow& b) { return most(a) > most(b); });
    return rows;
}

}  // namespace

PreviewTask::PreviewTask(Desk& desk, command::PreviewEdit command, std::chrono::steady_clock::time_point submitted)
    : Task(TaskKind::preview, "Previewing an edit"), desk_(desk), command_(std::move(command)), submitted_(submitted) {}

Step PreviewTask::step() {
    if (!tokens_) {
        prepare();
    } else if (!control_.defined()) {
        if (run_token(tokens_->control_rows, control_)) desk_.preview.controls[tokens_->touched_key] = control_;
    } else if (run_token(tokens_->edited_rows, edited_)) {
        publish();
        return Step::done;
    }
    return Step::again;
}

void PreviewTask::prepare() {
    EditedTokens tokens = edit_tokens(desk_, command_.at, command_.edits);
    PreviewMemory& memory = desk_.preview;
    if (memory.at != tokens.at) memory.clear();
    memory.at = tokens.at;
    if (!memory.before.defined()) memory.before = desk_.scratch->next_logits(tokens.at.thought, tokens.at.position + 1);
    before_ = memory.before;
    if (const auto known = memory.controls.find(tokens.touched_key); known != memory.controls.end())
        control_ = known->second;
    tokens_ = std::move(tokens);
}

bool PreviewTask::run_token(const std::vector<RowEdit>& rows, at::Tensor& logits) {
    const int64_t position = tokens_->first + static_cast<int64_t>(next_);
    const bool last = next_ + 1 == tokens_->tokens.size();
    // The cache is told the prefix only: rows of an edited run are no part of any path.
    KvCache& cache = next_ == 0 ? desk_.scratch->rewind(tokens_->at.thought, tokens_->first) : desk_.scratch->cache();
    ForwardOptions options;
    options.capture = false;
    options.logits = last ? Logits::last : Logits::none;
    options.edit = find_edit(rows, position);
    const TokenId token = tokens_->tokens[next_];
    const Transformer& model = desk_.transformer();
    const bool from_saved = next_ == 0 && options.edit;
    const ForwardOutput output =
        from_saved ? model.decode_from_saved(cache, token, tokens_->saved.slice(0, 1), *options.edit, options)
                   : model.decode(cache, token, options);
    ++next_;
    if (!last) return false;
    cache.truncate(tokens_->first);
    next_ = 0;
    logits = output.logits[0];
    return true;
}

void PreviewTask::publish() {
    const Sidecar& sidecar = desk_.need_sidecar();
    auto view = std::make_shared<PreviewView>();
    view->at = tokens_->at;
    view->edits = command_.edits;
    view->rows = rows_of(desk_, before_, control_, edited_);
    view->kl_control = kl_divergence(before_, control_).item<double>();
    view->kl_edited = kl_divergence(control_, edited_).item<double>();
    view->distance_control = distance_of(sidecar, tokens_->groups, tokens_->z);
    view->distance_edited = distance_of(sidecar, tokens_->groups, tokens_->edited);
    const int64_t row = tokens_->z.tokens() - 1;
    desk_.analyses.set_edit(
        desk_, {tokens_->z.hidden.slice(0, row), tokens_->edited.hidden.slice(0, row), view->distance_edited});
    view->milliseconds =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - submitted_).count();
    desk_.publisher.set_preview(std::move(view));
}

}  // namespace savepoint
