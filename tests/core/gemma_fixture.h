#pragma once

// The second model, Gemma 3 270M, and Hugging Face's numbers for it (tests/data/make_gemma.py).

#include <filesystem>

#include "tests/core/model_fixture.h"

namespace savepoint::testing {

inline std::string gemma_path() {
    const char* path = std::getenv("SAVEPOINT_GEMMA_MODEL");
    return path && std::filesystem::exists(path) ? path : "";
}

struct Gemma {
    std::shared_ptr<const Weights> weights = Weights::from_gguf(gemma_path());
    Tokenizer tokenizer{gemma_path()};
    Transformer model{weights};
    Reference reference{"gemma"};

    // Null where the file is not there; says so.
    static const Gemma* get() {
        if (gemma_path().empty()) {
            MESSAGE("skipped: no Gemma model file; tests/run --gemma fetches it");
            return nullptr;
        }
        static const Gemma gemma;
        return &gemma;
    }

    const nlohmann::json& prompt(const std::string& name) const {
        for (const auto& prompt : reference.json["prompts"])
            if (prompt["name"] == name) return prompt;
        throw InputError("gemma.json has no prompt " + name);
    }
    // 827 tokens, more than the sliding window of 512.
    std::vector<TokenId> long_ids(size_t count) const {
        std::vector<TokenId> ids = ids_of(prompt("long"));
        ids.resize(count);
        return ids;
    }
};

}  // namespace savepoint::testing
