#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/analysis/anomaly.h"
#include "core/analysis/fit_settings.h"
#include "core/model/transformer.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

// The sidecar and the anomaly references (identity, elu1) of a model, fitted in ONE pass over the text. It is a
// sequence of short steps so that a worker thread can answer its user in between: call step() until done().
// A step takes about as long as one forward pass of one sequence. The corpus text is laid out as reference text
// (reference_text.h); the model's own samples join it in the fit. The references are of keys and queries before rotary.
//
// SidecarInfo::settings holds {corpus, sequence_length, fit_tokens, calibration_tokens, own_samples, own_sample_length,
// seed, and of a separate sidecar pca {group_size, hidden_components, key_components, value_components, bits,
// exact_first_tokens, hidden_stride}, of a joint one joint {group_size, ratio, kl_weight, max_components,
// gradient_sequences, exact_first_tokens}}, the token counts as they were met. SidecarInfo::figures holds what was
// measured on every second calibration sequence, none of which took part in the axes: {held_out_tokens, hidden_fvu,
// hidden_fvu_layers [layers], key_fvu, value_fvu} (each the mean over sequences), and of resuming on decoded K/V
// {resumed_prefix, resumed_tokens, kl_nats, kl_p95, top1_agreement, delta_nll}.
class ReferenceFit {
   public:
    ReferenceFit(const Transformer& model, const Tokenizer& tokenizer, FitSettings settings);
    ~ReferenceFit();
    void step();
    bool done() const;
    double progress() const;    // 0..1
    std::string stage() const;  // "reading fortunes", "forward pass 31 of 96", "decomposing group 3 of 8", ...

    struct Result {
        std::shared_ptr<const Sidecar> sidecar;
        std::shared_ptr<const AnomalyReference> identity, elu1;
    };
    Result result() const;  // when done

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// The reference of a choice that is fitted with the sidecar; null for any other.
std::shared_ptr<const AnomalyReference> reference_of(const ReferenceFit::Result& fit, const AnomalyChoice& choice);

// Both in one folder: sidecar.safetensors and reference.safetensors. load returns empty pointers when absent and
// throws FileError when damaged or of another model than `weights`.
void save_fit(const std::string& folder, const ReferenceFit::Result& fit);
ReferenceFit::Result load_fit(const std::string& folder, const std::shared_ptr<const Weights>& weights);

}  // namespace savepoint
