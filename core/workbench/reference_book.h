#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/analysis/anomaly.h"
#include "core/workbench/reference_view.h"

namespace savepoint {

struct Desk;

// Which reference anomaly scores are of: those that are fitted with the sidecar (desk.fit), and those of other choices,
// which are stored beside it and read when they are wanted. A choice without a reference is only wanted until one has
// been fitted; until then the one before it stays in use.
class ReferenceBook {
   public:
    const AnomalyChoice& choice() const { return choice_; }  // in use
    const AnomalyChoice& wanted() const { return wanted_; }
    // Of the choice in use; null: there is no sidecar.
    std::shared_ptr<const AnomalyReference> active(const Desk& desk) const;

    void want(Desk& desk, const AnomalyChoice& choice);  // throws InputError on a choice that cannot be scored live
    void adopt(Desk& desk, std::shared_ptr<const AnomalyReference> reference);  // just fitted
    void sidecar_changed(Desk& desk);  // desk.fit and desk.fit_folder are new, their references with them
    ReferenceView view(const Desk& desk) const;

   private:
    std::shared_ptr<const AnomalyReference> find(const Desk& desk, const AnomalyChoice& choice) const;
    void read_stored(Desk& desk, const AnomalyChoice& choice);
    void settle(Desk& desk);

    AnomalyChoice choice_, wanted_;
    std::map<std::string, std::shared_ptr<const AnomalyReference>> others_;  // by name
};

}  // namespace savepoint
