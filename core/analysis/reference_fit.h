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
// A step takes about as long as one forward pass of one sequence.
class ReferenceFit {
   public:
    ReferenceFit(const Transformer& model, const Tokenizer& tokenizer, FitSettings settings);
    ~ReferenceFit();
    void step();
    bool done() const;
    double progress() const;      // 0..1
    std::string stage() const;    // "reading fortunes", "forward pass 31 of 96", "decomposing group 3 of 8", ...

    struct Result {
        std::shared_ptr<const Sidecar> sidecar;
        std::shared_ptr<const AnomalyReference> identity, elu1;
    };
    Result result() const;        // when done

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// Both in one folder: sidecar.safetensors and reference.safetensors. load returns empty pointers when absent and
// throws FileError when damaged or of another model.
void save_fit(const std::string& folder, const ReferenceFit::Result& fit);
ReferenceFit::Result load_fit(const std::string& folder, const std::string& model_sha256);

}  // namespace savepoint
