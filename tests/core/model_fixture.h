#pragma once

// The default model and Hugging Face's numbers for it, loaded once and shared by the model_* tests.

#include <ATen/ATen.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"

// libtorch's logging has a CHECK of its own, which ends the process: doctest's must be the later one.
#undef CHECK
#include <doctest/doctest.h>

namespace savepoint::testing {

inline std::string model_path() {
    const char* path = std::getenv("SAVEPOINT_MODEL");
    return path ? path : "";
}

inline std::shared_ptr<const Weights> shared_weights() {
    static const auto weights = Weights::from_gguf(model_path());
    return weights;
}

inline const Tokenizer& shared_tokenizer() {
    static const Tokenizer tokenizer(model_path());
    return tokenizer;
}

inline const Transformer& shared_model() {
    static const Transformer model(shared_weights());
    return model;
}

// What Hugging Face transformers computes in float32: tests/data/reference.json and .safetensors, or others of a name.
struct Reference {
    nlohmann::json json;
    std::string tensors;

    explicit Reference(const std::string& name = "reference") {
        const std::string path = SAVEPOINT_SOURCE_DIR "/tests/data/" + name;
        std::ifstream(path + ".json") >> json;
        std::ifstream file(path + ".safetensors", std::ios::binary);
        tensors.assign(std::istreambuf_iterator<char>(file), {});
    }

    static const Reference& get() {
        static const Reference reference;
        return reference;
    }

    at::Tensor tensor(const std::string& name) const {
        const nlohmann::json entry = header()[name];
        at::Tensor result = at::empty(entry["shape"].get<std::vector<int64_t>>(), at::kFloat);
        const size_t from = 8 + header_bytes() + entry["data_offsets"][0].get<size_t>();
        std::memcpy(result.data_ptr(), tensors.data() + from, result.nbytes());
        return result;
    }

   private:
    size_t header_bytes() const {
        uint64_t bytes = 0;
        std::memcpy(&bytes, tensors.data(), 8);
        return bytes;
    }
    nlohmann::json header() const { return nlohmann::json::parse(tensors.substr(8, header_bytes())); }
};

inline std::vector<TokenId> ids_of(const nlohmann::json& prompt) { return prompt["ids"].get<std::vector<TokenId>>(); }

inline float largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<float>(); }

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    const at::Tensor x = a.contiguous(), y = b.contiguous();
    return x.sizes() == y.sizes() && std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

inline std::vector<TokenId> first_ids(size_t count) {
    std::vector<TokenId> ids = ids_of(Reference::get().json["prompts"].back());
    ids.resize(count);
    return ids;
}

// "cpu", and "cuda" where there is one.
inline std::vector<std::string> devices() {
    try {
        open_device("cuda");
        return {"cpu", "cuda"};
    } catch (const Error&) {
        return {"cpu"};
    }
}

}  // namespace savepoint::testing
