#pragma once

// Plain types only: views include this file.

#include <string>

namespace savepoint {

// phi of linear attention. elu1: elu(x) + 1 (Katharopoulos et al. 2020, arXiv 2006.16236, eq. 7).
enum class FeatureMap { identity, elu1 };
std::string to_string(FeatureMap map);
FeatureMap feature_map_from(const std::string& name);  // throws InputError

}  // namespace savepoint
