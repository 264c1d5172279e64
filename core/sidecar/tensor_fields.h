#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/state/json_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {

// Checked access to a codec's part of a file that anyone may have written.
class TensorFields {
   public:
    TensorFields(const TensorFile& file, const nlohmann::json& settings, const std::string& part,
                 const std::string& name)
        : file_(file), settings_(settings, name, part), name_(name) {}

    // Finite float32 (widened from float16) of exactly this shape; -1: any length of at least 1. Throws FileError
    // naming the field.
    at::Tensor tensor(const std::string& field, const std::vector<int64_t>& shape) const;
    int64_t integer(const std::string& field, int64_t low, int64_t high) const {
        return settings_.integer(field, low, high);
    }
    [[noreturn]] void refuse(const std::string& field, const std::string& problem) const;

   private:
    const TensorFile& file_;
    Fields settings_;
    std::string name_;
};

// sha256 over all that a file says, its own entry "digest" apart, so that one flipped bit anywhere is noticed.
std::string content_digest(const TensorFile& file);
void check_digest(const TensorFile& file, const std::string& name);  // throws FileError

}  // namespace savepoint
