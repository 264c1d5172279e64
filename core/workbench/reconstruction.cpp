#include "core/workbench/reconstruction.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/workbench/desk.h"

namespace savepoint {
namespace {

std::vector<float> floats(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.to(at::kFloat).contiguous();
    const float* data = flat.const_data_ptr<float>();
    return {data, data + flat.numel()};
}

int64_t bytes_of_edits(const ThoughtGraph& graph, ThoughtId path) {
    int64_t bytes = 0;
    for (const RowEdit& edit : graph.path_edits(path)) {
        if (graph.at(graph.owner(path, edit.position).thought).latent) continue;  // of z, which the latents stand for
        if (edit.hidden.defined()) bytes += static_cast<int64_t>(edit.hidden.nbytes());
        for (const KvRow& row : edit.kv) bytes += static_cast<int64_t>(row.key.nbytes() + row.value.nbytes());
    }
    return bytes;
}

void add_account(const Desk& desk, ReconstructionView& view) {
    const Sidecar::ByteAccount account = desk.need_sidecar().byte_account(desk.transformer().config());
    const auto tokens = static_cast<double>(view.tokens);
    // The first tokens have no latents: their ids are replayed.
    const double coded = static_cast<double>(std::max<int64_t>(view.tokens - account.exact_first_tokens, 0)) / tokens;
    if (desk.need_sidecar().joint())
        view.account = {{"joint latents", account.hidden * coded}};
    else
        view.account = {{"hidden latents", account.hidden * coded}, {"key and value latents", account.kv * coded}};
    view.account.push_back(
        {"exact rows of edits", static_cast<double>(bytes_of_edits(desk.graph, view.thought)) / tokens});
    view.account.push_back({"token ids", account.token_ids});
    for (const ByteLine& line : view.account) view.bytes_per_token += line.bytes_per_token;
    view.raw_fp16_bytes_per_token = account.raw_fp16_hidden + account.raw_fp16_kv;
    view.replay_bytes_per_token = account.token_ids;
    view.sidecar_bytes = account.sidecar_bytes;
}

void add_errors(ReconstructionView& view, const ReconstructionError& error) {
    view.first_tokens = error.first_tokens;
    view.hidden_mse = floats(error.hidden_mse);
    view.hidden_fvu = floats(error.hidden_fvu);
    view.hidden_fvu_first = floats(error.hidden_fvu_first);
    view.key_mse = floats(error.key_mse);
    view.value_mse = floats(error.value_mse);
    view.key_fvu = floats(error.key_fvu);
    view.value_fvu = floats(error.value_fvu);
}

void write_token_errors(Desk& desk, ThoughtId path, const std::vector<float>& fvu) {
    for (const PathSpan& span : desk.graph.path(path, static_cast<int64_t>(fvu.size()))) {
        Thought& thought = desk.graph.edit(span.thought);
        for (int64_t i = 0; i < span.count; ++i) thought.stats[i].hidden_fvu = fvu[span.first + i];
        desk.publisher.tokens_changed(span.thought, 0, span.count);
    }
}

}  // namespace

ReconstructionRun::ReconstructionRun(const Desk& desk, ThoughtId thought)
    : thought_(thought), tokens_(desk.graph.path_length(thought)) {
    const auto work = [sidecar = desk.fit.sidecar, rows = desk.graph.path_rows(thought, 0, tokens_),
                       ids = desk.graph.path_tokens(thought),
                       error = error_](const Aside::Report&) { *error = reconstruction_error(*sidecar, rows, ids); };
    aside_ = std::make_unique<Aside>(work, desk.wake);
}

std::shared_ptr<const ReconstructionView> ReconstructionRun::view(Desk& desk) const {
    aside_->rethrow();
    const ModelConfig& config = desk.transformer().config();
    auto view = std::make_shared<ReconstructionView>();
    view->thought = thought_;
    view->tokens = tokens_;
    view->layers = config.layers;
    view->kv_heads = config.kv_heads;
    add_errors(*view, *error_);
    add_account(desk, *view);
    write_token_errors(desk, thought_, floats(error_->token_fvu));
    return view;
}

std::shared_ptr<const ReconstructionView> with_fidelity(ReconstructionView view, const ResumeFidelity& fidelity) {
    view.resume_prefix = fidelity.prefix;
    view.resume_tokens = fidelity.tokens;
    view.kl_nats = fidelity.kl_nats;
    view.kl_p95 = fidelity.kl_p95;
    view.top1_agreement = fidelity.top1_agreement;
    view.delta_nll = fidelity.delta_nll;
    return std::make_shared<const ReconstructionView>(std::move(view));
}

}  // namespace savepoint
