#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "core/sidecar/evaluate.h"

namespace savepoint {

// The means of held-out measurements, as SidecarInfo::figures says them (reference_fit.h).
class FitFigures {
   public:
    void add(const ReconstructionError& error);
    void add(const ResumeFidelity& fidelity) { resumed_.push_back(fidelity); }
    nlohmann::json described() const;

   private:
    void describe_reconstruction(nlohmann::json& out) const;
    void describe_resuming(nlohmann::json& out) const;

    at::Tensor hidden_, key_, value_;
    int64_t measured_ = 0, tokens_ = 0;
    std::vector<ResumeFidelity> resumed_;
};

}  // namespace savepoint
