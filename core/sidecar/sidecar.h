#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/model/transformer.h"
#include "core/sidecar/codec.h"
#include "core/sidecar/joint_codec.h"

namespace savepoint {

// z of consecutive tokens (row per token), as real values on the codecs' grids.
struct Latent {
    at::Tensor hidden;         // [tokens, groups, components]; of a joint sidecar all of z
    at::Tensor key;            // [tokens, layers, key components]
    at::Tensor value;          // [tokens, layers, value components]
    std::vector<TokenId> ids;  // of the tokens, or empty: a joint sidecar decodes no keys and values then
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

// The trained half beside the frozen model: E and D, as a codec of hidden states and one of keys and values, or as one
// codec of all three (joint). Immutable.
class Sidecar {
   public:
    Sidecar(std::shared_ptr<const HiddenCodec> hidden, std::shared_ptr<const KvCodec> kv, SidecarInfo info);
    Sidecar(std::shared_ptr<const JointCodec> joint, SidecarInfo info);

    const HiddenCodec& hidden() const { return *hidden_; }    // the joint one, where it is joint
    const JointCodec* joint() const { return joint_.get(); }  // null: keys and values have a codec of their own
    const KvCodec& kv() const;                                // throws InputError where it is joint
    const SidecarInfo& info() const { return info_; }
    const std::string& hash() const { return hash_; }  // sha256 of the file it saves to

    // A state whose rows are partly missing encodes only what is there; of a joint sidecar, z is made of hidden states.
    // ids: of the rows, where keys and values are to be decoded of a joint z; any sidecar passes them on. Throw
    // InputError on NaN or infinity, and on rows of another model.
    Latent encode(const StateRows& rows, std::span<const TokenId> ids = {}) const;
    StateRows decode(const Latent& latent) const;
    int64_t group_of_block(int64_t block) const;  // throws InputError

    // Every part that must be stored, in bytes per token (design rule 10). A path's first tokens are restored by
    // replaying their ids: nothing else is stored of them. hidden: of all of a joint z, whose kv is 0.
    struct ByteAccount {
        double hidden, kv, token_ids, raw_fp16_hidden, raw_fp16_kv;
        int64_t sidecar_bytes;
        int64_t exact_first_tokens;
    };
    ByteAccount byte_account(const ModelConfig& config) const;

    void save(const std::string& path) const;  // one safetensors file
    // Throws FileError. weights: of the model, whose maps a joint sidecar decodes keys and values by.
    static std::shared_ptr<const Sidecar> load(const std::string& path, std::shared_ptr<const Weights> weights);

   private:
    std::string bytes() const;
    void seal();

    std::shared_ptr<const HiddenCodec> hidden_;
    std::shared_ptr<const JointCodec> joint_;
    std::shared_ptr<const KvCodec> kv_;
    SidecarInfo info_;
    std::string hash_;
    int64_t file_bytes_ = 0;
};

bool is_sidecar_file(const std::string& path);  // by what it says it is; throws FileError for no safetensors file

}  // namespace savepoint
