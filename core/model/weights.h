#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "core/model/config.h"

namespace savepoint {

// Called with a fraction in [0, 1]; may throw Cancelled.
using Progress = std::function<void(double)>;

// A quantised matrix kept beside its float32 form, so that a decode step can stream its blocks (exact
// float32 arithmetic on the same dequantised values, a fraction of the memory traffic). The file's
// blocks, rearranged for gemv.h so that 16 rows stand side by side. `type` is ggml's type id of the result; rows x
// columns as in `matrix [out, in]`.
struct PackedMatrix {
    int type = 0;
    int64_t rows = 0, columns = 0;
    at::Tensor blocks;  // uint8
};

// Named float32 tensors of one model file, with Savepoint's own names, one per role:
//   embed [vocab, d_model]; head [vocab, d_model] (absent when tied); final_norm [d_model];
//   blocks.L.{attn_norm [d], q [q_dim, d], k [kv_dim, d], v [kv_dim, d], o [d, q_dim],
//             mlp_norm [d], gate [ff, d], up [ff, d], down [d, ff]}
//   and by ModelConfig::qk_norm q_norm, k_norm [head_dim], by post_norm attn_post_norm, mlp_post_norm [d].
// q and k are in Hugging Face row order (rotate_half pairs i and i + head_dim/2): the permutation that
// a llama GGUF applies is undone on reading; a gemma3 one has none. Norms are what the normed vector is multiplied by:
// Gemma's 1 + w, which its GGUF files hold summed up.
class Weights {
   public:
    // Throws FileError naming file and field: not GGUF, truncated, unsupported architecture or type,
    // missing tensor, wrong shape.
    static std::shared_ptr<const Weights> from_gguf(const std::string& path, const Progress& progress = {});

    const ModelConfig& config() const { return config_; }
    const std::string& path() const { return path_; }
    const std::string& sha256() const { return sha256_; }  // of the whole file, lower-case hex
    int64_t bytes() const;                                 // memory held, packed blocks included

    const at::Tensor& tensor(const std::string& name) const;  // throws FileError when absent
    bool has(const std::string& name) const { return tensors_.contains(name); }
    const PackedMatrix* packed(const std::string& name) const;  // null when not kept

   private:
    friend class WeightsReader;
    ModelConfig config_;
    std::string path_, sha256_;
    std::unordered_map<std::string, at::Tensor> tensors_;
    std::unordered_map<std::string, PackedMatrix> packed_;
};

}  // namespace savepoint
