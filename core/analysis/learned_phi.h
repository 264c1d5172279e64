#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/analysis/phi.h"
#include "core/model/config.h"

namespace savepoint {

// A fitted hedgehog beside the sidecar of its model: hedgehog.safetensors, or hedgehog-rotary.safetensors for keys and
// queries after rotary embedding. load gives null where there is none, and throws FileError where it is damaged or of
// another model.
void save_learned_phi(const std::string& folder, const Phi& phi, int64_t texts, const std::string& model_sha256);
// Saves one that has learned from so many texts, unless the one that is kept has learned from more: a hasty one must
// not take the place of a good one. A damaged one is replaced. Whether it was saved.
bool keep_learned_phi(const std::string& folder, const Phi& phi, int64_t texts, const std::string& model_sha256);
std::shared_ptr<const Phi> load_learned_phi(const std::string& folder, bool rotary, const std::string& model_sha256);

// The same, but null also where the kept one cannot be used: it is to be learned, and takes that one's place.
std::shared_ptr<const Phi> usable_learned_phi(const std::string& folder, bool rotary, const std::string& model_sha256);

// Any phi, ready for a model: the learned one as it is kept in `folder`. Throws InputError where it is not there.
std::shared_ptr<const Phi> phi_for(const PhiSettings& settings, const ModelConfig& config, const std::string& folder,
                                   const std::string& model_sha256);

}  // namespace savepoint
