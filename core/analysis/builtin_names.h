#pragma once

// Plain types only: views include this file.

#include <string>
#include <vector>

namespace savepoint {

// Experiments that need no file (builtin_experiments.h says what each is).
struct BuiltinExperiment {
    std::string name, about;
};
const std::vector<BuiltinExperiment>& builtin_experiments();

}  // namespace savepoint
