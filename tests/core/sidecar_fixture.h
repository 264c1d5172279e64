#pragma once

// Small fits of the default model, and codecs of random states, shared by the sidecar_* tests.

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

#include "core/sidecar/fit.h"
#include "core/sidecar/sidecar.h"
#include "tests/core/model_fixture.h"

namespace savepoint::testing {

inline ModelConfig small_config() {
    ModelConfig config;
    config.layers = 5;
    config.d_model = 12;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_dim = 6;
    return config;
}

// Correlated states of small_config(), about means of their own; seeded.
inline StateRows random_rows(int64_t tokens, uint64_t seed = 3) {
    const ModelConfig config = small_config();
    at::manual_seed(5);
    const at::Tensor mix_hidden = at::randn({60, 60}), mix_key = at::randn({12, 12}), mix_value = at::randn({12, 12});
    const at::Tensor centre = at::randn({5, 12}) * 4;
    at::manual_seed(seed);
    StateRows rows;
    // Later blocks are larger, as in a model.
    const at::Tensor growth = at::pow(2, at::arange(5, at::kFloat)).view({5, 1});
    rows.hidden = (at::matmul(at::randn({tokens, 60}), mix_hidden).view({tokens, 5, 12}) + centre) * growth;
    rows.key = at::matmul(at::randn({tokens, 5, 12}), mix_key).view({tokens, 5, config.kv_heads, config.head_dim}) + 1;
    rows.value =
        at::matmul(at::randn({tokens, 5, 12}), mix_value).view({tokens, 5, config.kv_heads, config.head_dim}) - 1;
    return rows;
}

inline PcaSettings full_rank(int64_t group_size) {
    PcaSettings settings;
    settings.group_size = group_size;
    settings.hidden_components = settings.key_components = settings.value_components = 0;
    settings.bits = 0;
    settings.hidden_stride = 1;
    return settings;
}

inline std::shared_ptr<const Sidecar> small_sidecar(PcaSettings settings, int64_t tokens = 400) {
    PcaFit fit(small_config(), settings);
    fit.add(random_rows(tokens));
    const PcaFit::Codecs codecs = fit.finish();
    SidecarInfo info;
    info.model_sha256 = std::string(64, 'a');
    info.data_sha256 = std::string(64, 'b');
    info.fitted_tokens = tokens;
    info.seed = 18446744073709551615u;
    info.settings = {{"corpus", "random"}};
    info.figures = {{"hidden_fvu", 0.1}};
    info.exact_first_tokens = settings.exact_first_tokens;
    return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, info);
}

inline std::shared_ptr<const Sidecar> default_small_sidecar() {
    PcaSettings settings = full_rank(2);
    settings.hidden_components = 7;
    settings.key_components = 5;
    settings.value_components = 6;
    settings.bits = 8;
    return small_sidecar(settings);
}

class TemporaryFolder {
   public:
    explicit TemporaryFolder(const std::string& name)
        : path_(std::filesystem::temp_directory_path() / ("savepoint-" + name + "-" + std::to_string(getpid()))) {
        std::filesystem::remove_all(path_);
        std::filesystem::create_directories(path_);
    }
    ~TemporaryFolder() {
        std::error_code none;
        std::filesystem::remove_all(path_, none);
    }
    std::string file(const std::string& name) const { return (path_ / name).string(); }
    std::string path() const { return path_.string(); }

   private:
    std::filesystem::path path_;
};

}  // namespace savepoint::testing
