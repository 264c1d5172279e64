#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/model/transformer.h"
#include "core/sidecar/codec.h"

namespace savepoint {

// z of consecutive tokens (row per token), as real values on the codecs' grids.
struct Latent {
    at::Tensor hidden;  // [tokens, groups, components]
    at::Tensor key;     // [tokens, layers, key components]
    at::Tensor value;   // [tokens, layers, value components]
    int64_t tokens() const;
    Latent slice(int64_t first, int64_t count) const;  // views
    Latent clone() const;
};

// What a fitted sidecar must say about itself.
struct SidecarInfo {
    std::string model_sha256, data_sha256;  // data: of the token ids it was fitted on
    int64_t fitted_tokens = 0;
    uint64_t seed = 0;
    nlohmann::json settings;         // as fit was asked
    nlohmann::json figures;          // held-out: hidden FVU, K and V FVU, KL, top-1 ...
    int64_t exact_first_tokens = 4;  // attention sinks, whose exact rows are kept beside z
    int version = 1;
};

// The trained half beside the frozen model: E and D as a pair of codecs. Immutable.
class Sidecar {
   public:
    Sidecar(std::shared_ptr<const HiddenCodec> hidden, std::shared_ptr<const KvCodec> kv, SidecarInfo info);

    const HiddenCodec& hidden() const { return *hidden_; }
    const KvCodec& kv() const { return *kv_; }
    const SidecarInfo& info() const { return info_; }
    const std::string& hash() const { return hash_; }  // sha256 of the file it saves to

    // A state whose rows are partly missing encodes only what is there. Throw InputError on NaN or infinity, and on
    // rows of another model.
    Latent encode(const StateRows& rows) const;
    StateRows decode(const Latent& latent) const;
    int64_t group_of_block(int64_t block) const;  // throws InputError

    // Every part that must be stored, in bytes per token (design rule 10). The exact rows of a path's first tokens
    // (float32: hidden, key and value of each) come once a path, not per token: exact_first_bytes in all.
    struct ByteAccount {
        double hidden, kv, token_ids, raw_fp16_hidden, raw_fp16_kv;
        int64_t sidecar_bytes;
        int64_t exact_first_tokens;
        double exact_first_bytes;
    };
    ByteAccount byte_account(const ModelConfig& config) const;

    void save(const std::string& path) const;                             // one safetensors file
    static std::shared_ptr<const Sidecar> load(const std::string& path);  // throws FileError

   private:
    std::string bytes() const;

    std::shared_ptr<const HiddenCodec> hidden_;
    std::shared_ptr<const KvCodec> kv_;
    SidecarInfo info_;
    std::string hash_;
    int64_t file_bytes_ = 0;
};

}  // namespace savepoint
