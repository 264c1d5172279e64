#include "core/analysis/patch_scores.h"

#include "core/model/error.h"

namespace savepoint {

std::string to_string(PatchSite site) {
    switch (site) {
        case PatchSite::resid:
            return "resid";
        case PatchSite::attention:
            return "attention";
        case PatchSite::mlp:
            return "mlp";
        default:
            return "head";
    }
}

PatchSite patch_site_from(const std::string& name) {
    for (const PatchSite site : kPatchSites)
        if (name == to_string(site)) return site;
    throw InputError("\"" + name + "\" cannot be patched; there are resid, attention, mlp and head");
}

}  // namespace savepoint
