#include "core/sidecar/sidecar.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/json_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

constexpr const char* kFormat = "savepoint-sidecar";
constexpr int kVersion = 1;

at::Tensor slice_or_none(const at::Tensor& part, int64_t first, int64_t count) {
    return part.defined() ? part.slice(0, first, first + count) : part;
}

at::Tensor clone_or_none(const at::Tensor& part) { return part.defined() ? part.clone() : part; }

nlohmann::json described(const SidecarInfo& info) {
    return {{"version", info.version},
            {"model_sha256", info.model_sha256},
            {"data_sha256", info.data_sha256},
            {"fitted_tokens", info.fitted_tokens},
            {"seed", info.seed},
            {"settings", info.settings},
            {"figures", info.figures},
            {"exact_first_tokens", info.exact_first_tokens}};
}

SidecarInfo info_from(const Fields& fields) {
    SidecarInfo info;
    info.version = static_cast<int>(fields.integer("version", 0, std::numeric_limits<int>::max()));
    if (info.version != kVersion) {
        fields.refuse("version",
                      "is " + std::to_string(info.version) + "; this Savepoint reads " + std::to_string(kVersion));
    }
    info.model_sha256 = fields.text("model_sha256");
    info.data_sha256 = fields.text("data_sha256");
    info.fitted_tokens = fields.integer("fitted_tokens", 0, int64_t{1} << 60);
    info.seed = fields.unsigned_integer("seed");
    info.settings = fields.any("settings");
    info.figures = fields.any("figures");
    info.exact_first_tokens = fields.integer("exact_first_tokens", 0, 1 << 20);
    return info;
}

std::string kind_of(const Fields& fields, const char* part) { return fields.object(part).text("kind"); }

template <typename Codec>
Codec loaded(Codec (*load)(const TensorFile&, const nlohmann::json&, const std::string&), const TensorFile& file,
             const Fields& fields, const char* part, const std::string& path) {
    const nlohmann::json& settings = fields.any(part);
    const std::string kind = kind_of(fields, part);
    if (kind != "pca") fields.refuse(part, "is coded as \"" + kind + "\", which this Savepoint does not know");
    return load(file, settings, path);
}

}  // namespace

int64_t Latent::tokens() const {
    for (const at::Tensor* part : {&hidden, &key, &value}) {
        if (part->defined()) return part->size(0);
    }
    return 0;
}

Latent Latent::slice(int64_t first, int64_t count) const {
    Latent part{
        slice_or_none(hidden, first, count), slice_or_none(key, first, count), slice_or_none(value, first, count), {}};
    if (!ids.empty()) part.ids.assign(ids.begin() + first, ids.begin() + first + count);
    return part;
}

Latent Latent::clone() const { return {clone_or_none(hidden), clone_or_none(key), clone_or_none(value), ids}; }

Sidecar::Sidecar(std::shared_ptr<const HiddenCodec> hidden, std::shared_ptr<const KvCodec> kv, SidecarInfo info)
    : hidden_(std::move(hidden)), kv_(std::move(kv)), info_(std::move(info)) {
    const int64_t layers = hidden_->groups().back().last_block + 1;
    if (kv_->key_std().size(0) != layers) {
        throw InputError("sidecar: hidden states of " + std::to_string(layers) + " blocks, keys of " +
                         std::to_string(kv_->key_std().size(0)) + "; both halves must be of one model");
    }
    seal();
}

Sidecar::Sidecar(std::shared_ptr<const JointCodec> joint, SidecarInfo info)
    : hidden_(joint), joint_(std::move(joint)), info_(std::move(info)) {
    seal();
}

void Sidecar::seal() {
    const std::string file = bytes();
    hash_ = sha256_hex(file);
    file_bytes_ = static_cast<int64_t>(file.size());
}

const KvCodec& Sidecar::kv() const {
    if (!kv_) throw InputError("sidecar: it has one z for hidden states, keys and values");
    return *kv_;
}

Latent Sidecar::encode(const StateRows& rows, std::span<const TokenId> ids) const {
    Latent latent;
    latent.ids.assign(ids.begin(), ids.end());
    if (rows.hidden.defined()) latent.hidden = hidden_->encode(rows.hidden);
    if (joint_) return latent;
    if (rows.key.defined()) latent.key = kv_->encode_keys(rows.key);
    if (rows.value.defined()) latent.value = kv_->encode_values(rows.value);
    return latent;
}

StateRows Sidecar::decode(const Latent& latent) const {
    StateRows rows;
    if (joint_ && latent.hidden.defined() && !latent.ids.empty())
        return joint_->decode_state(latent.hidden, latent.ids);
    if (latent.hidden.defined()) {
        rows.hidden = hidden_->decode(latent.hidden);
        rows.last = rows.hidden.select(1, rows.hidden.size(1) - 1).contiguous();
    }
    if (latent.key.defined()) rows.key = kv_->decode_keys(latent.key);
    if (latent.value.defined()) rows.value = kv_->decode_values(latent.value);
    return rows;
}

int64_t Sidecar::group_of_block(int64_t block) const {
    const auto& groups = hidden_->groups();
    for (size_t g = 0; g < groups.size(); ++g) {
        if (block >= groups[g].first_block && block <= groups[g].last_block) return static_cast<int64_t>(g);
    }
    throw InputError("block: " + std::to_string(block) + " of " + std::to_string(groups.back().last_block + 1));
}

Sidecar::ByteAccount Sidecar::byte_account(const ModelConfig& config) const {
    const auto hidden = static_cast<double>(config.layers * config.d_model);
    const auto kv = static_cast<double>(2 * config.layers * config.kv_dim());
    ByteAccount account{};
    account.hidden = hidden_->bytes_per_token();
    account.kv = kv_ ? kv_->bytes_per_token() : 0;
    account.token_ids = sizeof(TokenId);
    account.raw_fp16_hidden = hidden * 2;
    account.raw_fp16_kv = kv * 2;
    account.sidecar_bytes = file_bytes_;
    account.exact_first_tokens = info_.exact_first_tokens;
    return account;
}

std::string Sidecar::bytes() const {
    TensorFile file;
    nlohmann::json description = described(info_);
    hidden_->save(file, description["hidden"]);
    if (kv_) kv_->save(file, description["kv"]);
    file.metadata = {{"format", kFormat}, {"sidecar", description.dump()}};
    file.metadata["digest"] = content_digest(file);
    return to_safetensors(file);
}

void Sidecar::save(const std::string& path) const { write_atomically(path, bytes()); }

std::shared_ptr<const Sidecar> Sidecar::load(const std::string& path, std::shared_ptr<const Weights> weights) {
    const TensorFile file = read_safetensors(path);
    const auto entry = [&](const char* key) {
        const auto found = file.metadata.find(key);
        return found == file.metadata.end() ? std::string() : found->second;
    };
    if (entry("format") != kFormat)
        throw FileError(path, "is not a Savepoint sidecar; fit one, or choose another file");
    const nlohmann::json description = parse_json(entry("sidecar"), path);
    const Fields fields(description, path, "sidecar");
    SidecarInfo info = info_from(fields);
    check_digest(file, path);
    try {
        if (kind_of(fields, "hidden") == "joint")
            return std::make_shared<Sidecar>(load_joint(file, fields.any("hidden"), path, std::move(weights)),
                                             std::move(info));
        return std::make_shared<Sidecar>(loaded(load_pca_hidden, file, fields, "hidden", path),
                                         loaded(load_pca_kv, file, fields, "kv", path), std::move(info));
    } catch (const InputError& error) {
        throw FileError(path, error.what());
    }
}

bool is_sidecar_file(const std::string& path) {
    const std::map<std::string, std::string> metadata = read_safetensors_metadata(path);
    const auto format = metadata.find("format");
    return format != metadata.end() && format->second == kFormat;
}

}  // namespace savepoint
