#pragma once

#include <functional>

#include "core/sidecar/codec.h"
#include "core/sidecar/pca_settings.h"

namespace savepoint {

// Streaming second moments of the layer groups and of each block's keys and values; closed-form PCA at
// the end. Each block's states are divided by their RMS deviation before a group is decomposed, so that late blocks,
// whose states are larger, do not drown early ones. add() may be called from one thread only. Deterministic.
class PcaFit {
   public:
    PcaFit(const ModelConfig& config, PcaSettings settings);
    ~PcaFit();
    void add(
        const StateRows& rows);  // the first exact_first_tokens rows of each sequence must be left out by the caller
    int64_t tokens() const;
    // The work of finish(), in parts(): one for each group, one for all keys, one for all values. After the first,
    // add() throws InputError. Throws InputError when no token was added.
    int64_t parts() const;
    void decompose(int64_t part);
    struct Codecs {
        std::shared_ptr<const HiddenCodec> hidden;
        std::shared_ptr<const KvCodec> kv;
    };
    Codecs finish(const std::function<void(double)>& progress = {});  // decomposes what is left

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// From a file's tensors and settings; throw FileError(name, ...) when they do not fit together.
std::shared_ptr<const HiddenCodec> load_pca_hidden(const TensorFile& file, const nlohmann::json& settings,
                                                   const std::string& name);
std::shared_ptr<const KvCodec> load_pca_kv(const TensorFile& file, const nlohmann::json& settings,
                                           const std::string& name);

}  // namespace savepoint
