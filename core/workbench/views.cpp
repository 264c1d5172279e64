#include "core/workbench/views.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "core/workbench/desk.h"
#include "core/workbench/text.h"

namespace savepoint {
namespace {

constexpr size_t kFirstWords = 60;

double figure(const nlohmann::json& figures, const char* name) {
    const auto found = figures.find(name);
    return found != figures.end() && found->is_number() ? found->get<double>() : NAN;
}

int64_t setting(const nlohmann::json& settings, const char* name) {
    const auto found = settings.find(name);
    return found != settings.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

std::vector<float> floats(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.to(at::kCPU, at::kFloat).contiguous();
    const float* data = flat.const_data_ptr<float>();
    return {data, data + flat.numel()};
}

bool is_edited(const Thought& thought, int64_t position) {
    return !thought.latent && std::any_of(thought.edits.begin(), thought.edits.end(),
                                          [&](const RowEdit& edit) { return edit.position == position; });
}

bool is_decoded(const Thought& thought, int64_t index) {
    return thought.latent && index >= thought.latent->exact_first &&
           index + 1 < static_cast<int64_t>(thought.tokens.size());
}

// The words that a user would know a thought by: what was asked, else what was said.
std::string words_of(const Desk& desk, const Thought& thought) {
    const auto prompt = thought.provenance.find("prompt");
    if (prompt != thought.provenance.end() && prompt->is_string())
        return one_line(displayable(prompt->get<std::string>()), kFirstWords);
    if (!desk.model) return {};
    std::vector<TokenId> words;
    for (size_t i = 0; i < thought.tokens.size() && i < kFirstWords; ++i)
        if (!desk.tokenizer().is_special(thought.tokens[i])) words.push_back(thought.tokens[i]);
    return one_line(displayable(desk.tokenizer().decode(words)), kFirstWords);
}

std::string text_field(const nlohmann::json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_field(const nlohmann::json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_number() ? found->get<double>() : NAN;
}

float mean_log_probability(const Thought& thought) {
    double sum = 0;
    int64_t count = 0;
    for (size_t i = static_cast<size_t>(thought.prompt_tokens); i < thought.stats.size(); ++i) {
        if (std::isnan(thought.stats[i].log_probability)) continue;
        sum += thought.stats[i].log_probability;
        ++count;
    }
    return count ? static_cast<float>(sum / static_cast<double>(count)) : NAN;
}

void look_for_anomalies(const Thought& thought, double threshold, ThoughtView& view) {
    for (size_t i = 0; i < thought.stats.size(); ++i) {
        const float percentile = thought.stats[i].anomaly;
        view.max_anomaly = std::fmax(view.max_anomaly, percentile);
        if (is_marked(percentile, threshold) && view.marks++ == 0)
            view.first_mark = thought.prefix + static_cast<int64_t>(i);
    }
}

int64_t bytes_of(const Thought& thought) {
    int64_t bytes = thought.rows.bytes();
    if (thought.latent) return bytes;  // what was decoded of it are views of its rows
    for (const RowEdit& edit : thought.edits) {
        bytes += edit.hidden.defined() ? static_cast<int64_t>(edit.hidden.nbytes()) : 0;
        for (const KvRow& row : edit.kv) bytes += static_cast<int64_t>(row.key.nbytes() + row.value.nbytes());
    }
    return bytes;
}

LatentGroupView group_view(const HiddenCodec& codec, int64_t index) {
    const LayerGroup& group = codec.groups()[static_cast<size_t>(index)];
    LatentGroupView view;
    view.first_block = group.first_block;
    view.last_block = group.last_block;
    view.label = group.label();
    view.explained = floats(codec.explained()[index].slice(0, 0, codec.components(index)));
    return view;
}

// (z - mean) / std, where a component that never varies says nothing and is shown as 0.
at::Tensor standardized(const at::Tensor& z, const at::Tensor& mean, const at::Tensor& std) {
    return at::where(std > 0, (z - mean) / std.clamp_min(1e-20), at::zeros_like(z));
}

std::vector<std::vector<float>> rows_of(const at::Tensor& table) {
    std::vector<std::vector<float>> rows;
    for (int64_t i = 0; i < table.size(0); ++i) rows.push_back(floats(table[i]));
    return rows;
}

std::vector<std::vector<float>> hidden_rows(const HiddenCodec& codec, const at::Tensor& z) {
    std::vector<std::vector<float>> rows = rows_of(standardized(z, codec.component_mean(), codec.component_std()));
    for (size_t g = 0; g < rows.size(); ++g)
        rows[g].resize(static_cast<size_t>(codec.components(static_cast<int64_t>(g))));
    return rows;
}

}  // namespace

ModelView model_view(const LoadedModel& model) {
    const ModelConfig& c = model.transformer->config();
    ModelView view;
    view.phase = Phase::ready;
    view.progress = 1;
    view.name = c.name;
    view.path = model.weights->path();
    view.sha256 = model.weights->sha256();
    view.architecture = c.architecture;
    view.device = model.device_name;
    view.precision = model.transformer->precision();
    view.layers = c.layers;
    view.d_model = c.d_model;
    view.d_ff = c.d_ff;
    view.heads = c.heads;
    view.kv_heads = c.kv_heads;
    view.head_dim = c.head_dim;
    view.vocab = c.vocab;
    view.context = c.context;
    view.weight_bytes = model.weights->bytes();
    std::error_code ignored;
    view.file_bytes = static_cast<int64_t>(std::filesystem::file_size(view.path, ignored));
    view.has_chat_template = model.tokenizer->has_chat_template();
    view.default_system_prompt = model.default_system_prompt;
    return view;
}

SidecarView sidecar_view(const Desk& desk) {
    SidecarView view;
    if (!desk.fit.sidecar) return view;
    const Sidecar& sidecar = *desk.fit.sidecar;
    const SidecarInfo& info = sidecar.info();
    view.phase = Phase::ready;
    view.progress = 1;
    view.kind = sidecar.hidden().kind();
    view.path = desk.fit_folder;
    view.hash = sidecar.hash();
    view.corpus = text_field(info.settings, "corpus");
    view.fitted_tokens = info.fitted_tokens;
    view.calibration_tokens = desk.fit.elu1 ? desk.fit.elu1->calibration_tokens() : 0;
    const Sidecar::ByteAccount account = sidecar.byte_account(desk.transformer().config());
    view.bytes = account.sidecar_bytes;
    view.bytes_per_token = account.hidden + account.kv;
    view.ratio_fp16 = (account.raw_fp16_hidden + account.raw_fp16_kv) / view.bytes_per_token;
    const nlohmann::json pca = info.settings.value("pca", info.settings);
    view.group_size = sidecar.hidden().groups().front().layers();
    view.bits = setting(pca, "bits");
    for (size_t g = 0; g < sidecar.hidden().groups().size(); ++g)
        view.groups.push_back(group_view(sidecar.hidden(), static_cast<int64_t>(g)));
    view.joint = sidecar.joint() != nullptr;
    if (!view.joint) {
        view.key_components = sidecar.kv().key_components();
        view.value_components = sidecar.kv().value_components();
        view.key_explained = rows_of(sidecar.kv().key_explained());
        view.value_explained = rows_of(sidecar.kv().value_explained());
    }
    view.hidden_fvu = figure(info.figures, "hidden_fvu");
    view.key_fvu = figure(info.figures, "key_fvu");
    view.value_fvu = figure(info.figures, "value_fvu");
    view.kl_nats = figure(info.figures, "kl_nats");
    view.top1_agreement = figure(info.figures, "top1_agreement");
    return view;
}

std::string token_text(const Desk& desk, TokenId id) { return displayable(desk.tokenizer().piece(id)); }

TokenView token_view(const Desk& desk, const Thought& thought, int64_t index) {
    const TokenStats& stats = thought.stats[static_cast<size_t>(index)];
    TokenView view;
    view.id = thought.tokens[static_cast<size_t>(index)];
    view.text = token_text(desk, view.id);
    view.log_probability = stats.log_probability;
    view.entropy = stats.entropy;
    view.anomaly = stats.anomaly;
    view.hidden_fvu = stats.hidden_fvu;
    view.special = desk.tokenizer().is_special(view.id);
    view.prompt = index < thought.prompt_tokens;
    view.thought = thought.id;
    view.position = thought.prefix + index;
    view.edited = is_edited(thought, view.position);
    view.decoded = is_decoded(thought, index);
    view.marked = is_marked(view.anomaly, desk.mark_threshold);
    view.next.reserve(stats.next.size());
    for (const Candidate& next : stats.next)
        view.next.push_back({next.id, token_text(desk, next.id), next.probability});
    return view;
}

ThoughtView thought_view(const Desk& desk, const Thought& thought) {
    ThoughtView view;
    view.id = thought.id;
    view.parent = thought.parent;
    view.other_parent = thought.other_parent;
    view.edge = thought.edge;
    view.prefix = thought.prefix;
    view.tokens = static_cast<int64_t>(thought.tokens.size());
    view.prompt_tokens = thought.prompt_tokens;
    view.path_tokens = thought.prefix + view.tokens;
    view.label = thought.label;
    view.text = words_of(desk, thought);
    view.detail = text_field(thought.provenance, "detail");
    view.note = thought.note;
    view.bookmarked = thought.bookmarked;
    view.generating = thought.id == desk.generating;
    view.has_hidden = thought.rows.has_hidden();
    view.has_kv = thought.rows.has_kv();
    view.mean_log_probability = mean_log_probability(thought);
    look_for_anomalies(thought, desk.mark_threshold, view);
    view.reward = thought.reward;
    view.bytes = bytes_of(thought);
    if (thought.latent) {
        view.codec = thought.latent->codec;
        view.z_bytes = static_cast<int64_t>(thought.latent->bytes.size());
        view.fp16_bytes = number_field(thought.provenance, "fp16_bytes");
        view.kl_next = number_field(thought.provenance, "kl_next");
    }
    return view;
}

std::shared_ptr<const LatentView> latent_view(const Desk& desk) {
    if (!desk.fit.sidecar || desk.selected.thought == 0) return nullptr;
    const StateRows row = desk.graph.path_rows(desk.selected.thought, desk.selected.position, 1);
    if (!row.has_hidden() || !row.has_kv()) return nullptr;
    const Sidecar& sidecar = *desk.fit.sidecar;
    const Latent z = sidecar.encode({row.hidden, row.key, row.value, {}});
    auto view = std::make_shared<LatentView>();
    view->token = desk.selected;
    view->hidden = hidden_rows(sidecar.hidden(), z.hidden[0]);
    if (sidecar.joint()) return view;
    view->key = rows_of(standardized(z.key[0], sidecar.kv().key_mean(), sidecar.kv().key_std()));
    view->value = rows_of(standardized(z.value[0], sidecar.kv().value_mean(), sidecar.kv().value_std()));
    return view;
}

}  // namespace savepoint
