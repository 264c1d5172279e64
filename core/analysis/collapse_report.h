#pragma once

// Standard types only: views include this file.

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

// What may have collapsed: the codes z, the states that a sidecar decodes from them, or soft prompts from a file.
enum class CollapseSubject { latents, sidecar, soft_prompts };
std::string to_string(CollapseSubject subject);                  // "latents", "sidecar", "soft_prompts"
CollapseSubject collapse_subject_from(const std::string& name);  // throws InputError

struct CollapseSettings {
    CollapseSubject subject = CollapseSubject::sidecar;
    int64_t prompts = 24, prefix = 32, continuation = 8;  // texts; tokens of each; tokens generated after it
    uint64_t seed = 5;                                    // of the choice of texts
    std::string file;  // soft prompts: safetensors with prompts [n, length, d_model] and, where there are right
                       // answers, target_ids [n, tokens]
};

// One sign of collapse. Healthy: low <= value <= high.
struct CollapseMetric {
    std::string name, label;              // "mean_cosine", "mean pairwise cosine"
    double value = NAN, reference = NAN;  // of the subject; of the model's own states or outputs. NaN: not known
    double low = -INFINITY, high = INFINITY;
    std::string threshold, meaning;  // "below 0.5"; what it says, with its source
    bool judged() const { return !std::isnan(value) && (std::isfinite(low) || std::isfinite(high)); }
    bool healthy() const { return value >= low && value <= high; }
};

struct CollapseReport {
    CollapseSettings settings;
    int64_t prompts_done = 0;
    std::vector<CollapseMetric> metrics;
    std::vector<double> pca_variance;                     // shares of the first components, at most 8
    std::vector<std::vector<int32_t>> outputs, expected;  // token ids, one a prompt
};

}  // namespace savepoint
