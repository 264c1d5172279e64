#pragma once

#include <memory>
#include <string>

#include "core/analysis/anomaly.h"
#include "core/analysis/fit_settings.h"
#include "core/model/transformer.h"
#include "core/model/tokenizer.h"

namespace savepoint {

// The anomaly reference of any choice, fitted on the text that the sidecar was fitted on (reference_sequences.h): call
// step() until done(). Read-outs are taken of every token; other forms, which cost a state each, of at most
// kStatesPerBucket tokens of a text in each position bucket.
class ChoiceFit {
   public:
    // `phi`: the choice's own; null: a learned one, which is learned first. Throws InputError on detectors that want a
    // second set.
    ChoiceFit(const Transformer& model, const Tokenizer& tokenizer, const AnomalyChoice& choice,
              std::shared_ptr<const Phi> phi, FitSettings text);
    // As window and command line fit it: a learned phi is the one kept in `folder`; where there is none that can be
    // used, it is learned first, from the same text, and kept (learned_phi.h; in an empty folder nothing is).
    ChoiceFit(const Transformer& model, const Tokenizer& tokenizer, const AnomalyChoice& choice,
              const std::string& folder, const std::string& model_sha256, FitSettings text);
    ~ChoiceFit();
    void step();
    bool done() const;
    double progress() const;    // 0..1
    std::string stage() const;  // "learning phi, text 3 of 200", "forward pass 31 of 96", ...
    std::shared_ptr<const AnomalyReference> result() const;  // when done

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};
inline constexpr int64_t kStatesPerBucket = 16;

// Of a text of so many tokens: the positions in each bucket that are looked at, evenly spread, at most `most` of them.
std::vector<int64_t> spread_positions(int64_t tokens, int64_t most);

// Beside the sidecar: anomaly-CHOICE.safetensors. load gives null where there is none, or one of another sidecar, whose
// text may have been another; throws FileError where it is damaged or of another model.
void save_reference(const std::string& folder, const AnomalyReference& reference, const std::string& model_sha256,
                    const std::string& sidecar_hash);
std::shared_ptr<const AnomalyReference> load_reference(const std::string& folder, const AnomalyChoice& choice,
                                                       const std::string& model_sha256,
                                                       const std::string& sidecar_hash);

}  // namespace savepoint
