#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/state/session.h"

namespace savepoint {

inline constexpr int64_t kSegmentTokens = 256;  // at most, per blob

// The sizes that every row of a session must have.
struct ModelShape {
    int64_t layers = 0, d_model = 0, kv_heads = 0, head_dim = 0, vocab = 0, context = 0;
};

struct SegmentRef {
    std::string blob;  // sha256 of the file, which is its name
    int64_t count = 0;
};

// A thought as the manifest has it: everything but what is in blobs. thought.edits hold positions and
// blocks without rows; a thought kept as z has none, and neither rows.
struct ThoughtRecord {
    Thought thought;
    int64_t tokens = 0;
    bool has_stats = false, has_kv = false, has_last = false;
    std::vector<SegmentRef> segments;     // in order, together `tokens` tokens
    std::vector<std::string> edit_blobs;  // one for each of thought.edits; several edits may share one
    std::string latent_blob;              // of thought.latent, whose bytes it has; empty: there is none
    int64_t latent_bytes = 0;
};

struct Manifest {
    std::string application, saved_at;  // saved_at: UTC, ISO 8601
    SessionIdentity identity;
    ModelShape shape;
    std::vector<ThoughtRecord> thoughts;  // ascending id, so parents come first
    ThoughtId current = 0, next_id = 1;
    TokenRef selected;  // thought 0: nothing, or saved before selections were
    nlohmann::json view;
};

ModelShape model_shape(const nlohmann::json& config, const std::string& file);
nlohmann::json manifest_json(const Manifest& manifest);
// Checks every field by itself, and the graph: parents first, prefixes within paths, ids ascending.
Manifest manifest_from(nlohmann::json json, const std::string& file);

// steps[i] turns a manifest of version first + i into the next version; each old version has one.
using Migration = std::function<void(nlohmann::json&)>;
void migrate(nlohmann::json& json, const std::string& file, int64_t first, const std::vector<Migration>& steps);

// The part of `thought` that the manifest holds, without rows, tokens and stats.
Thought outline_of(const Thought& thought);
std::string application_name();

}  // namespace savepoint
