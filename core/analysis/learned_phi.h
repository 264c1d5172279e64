#pragma once

#include <memory>
#include <string>

#include "core/analysis/phi.h"
#include "core/model/config.h"

namespace savepoint {

// A fitted hedgehog beside the sidecar of its model: hedgehog.safetensors, or hedgehog-rotary.safetensors for keys and
// queries after rotary embedding. load gives null where there is none, and throws FileError where it is damaged or of
// another model.
void save_learned_phi(const std::string& folder, const Phi& phi, const std::string& model_sha256);
std::shared_ptr<const Phi> load_learned_phi(const std::string& folder, bool rotary, const std::string& model_sha256);

// Any phi, ready for a model: the learned one as it is kept in `folder`. Throws InputError where it is not there.
std::shared_ptr<const Phi> phi_for(const PhiSettings& settings, const ModelConfig& config, const std::string& folder,
                                   const std::string& model_sha256);

}  // namespace savepoint
