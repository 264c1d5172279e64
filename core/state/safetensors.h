#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "core/model/sha256.h"

namespace savepoint {

// The safetensors format (huggingface/safetensors): 8 bytes of header length, JSON, tensors. Reading
// is safe against hostile input: every offset, shape and size is checked before use and nothing is
// allocated from an unchecked number.
struct TensorFile {
    std::map<std::string, at::Tensor> tensors;  // F32, F16, BF16, F64, I64, I32, I16, I8, U8, BOOL
    std::map<std::string, std::string> metadata;
};

std::string to_safetensors(const TensorFile& file);                              // bytes
TensorFile from_safetensors(const std::string& bytes, const std::string& name);  // throws FileError(name, ..)
TensorFile read_safetensors(const std::string& path);
std::map<std::string, std::string> read_safetensors_metadata(const std::string& path);  // of the header alone
void write_safetensors(const std::string& path, const TensorFile& file);  // atomic

// Temporary file beside it, fsync, rename, fsync of the folder.
void write_atomically(const std::string& path, const std::string& bytes);
std::string read_file(const std::string& path);

}  // namespace savepoint
