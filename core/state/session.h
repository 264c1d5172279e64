#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/config.h"
#include "core/state/thought_graph.h"

namespace savepoint {

inline constexpr int kSessionSchema = 2;

// What a session must be opened with: the hashes it was made with.
struct SessionIdentity {
    std::string model_name, model_sha256, tokenizer_hash;
    std::string sidecar_hash;     // empty: none was in use
    nlohmann::json model_config;  // from a ModelConfig: model_config = transformer.config()
};
void to_json(nlohmann::json& json, const ModelConfig& config);

struct SessionContents {
    SessionIdentity identity;
    ThoughtGraph graph;
    ThoughtId current = 0;
    TokenRef selected;    // what was looked at; thought 0: nothing
    nlohmann::json view;  // selection, analyses, layout: kept as given
};

// Keeps other writers out of a session folder; held by whoever has the session open for writing. The
// kernel lets go of it when the process ends, however it ends. `make`: the folder is made when it is not
// there. Throws FileError naming the process that holds it; refuses a folder that holds something else.
class SessionLock {
   public:
    explicit SessionLock(const std::string& folder, bool make = true);
    ~SessionLock();
    SessionLock(SessionLock&& other) noexcept;
    SessionLock& operator=(SessionLock&& other) noexcept;
    bool holds(const std::string& folder) const;  // this folder, however its path is written

   private:
    std::string path_;  // canonical
    int fd_ = -1;
};

struct SaveOptions {
    // Exact keys, values and last rows: a reopened session goes on at once. Without them replay brings states back, bit
    // for bit on the same machine, in the time that it takes to read the path. What is kept as z has none either way.
    bool exact_rows = true;
    const SessionLock* held = nullptr;  // of this folder; null: taken for the time of saving
};

// A session folder NAME.savepoint/ (DESIGN, section 4): manifest.json and blobs/<sha256>.safetensors of
// at most 256 tokens each. Blobs first, the manifest last, each atomically; then unreferenced blobs go.
// A crash at any point leaves the last good session. A lock file keeps a second writer out.
// Throws FileError (with what differs and the way out), InputError where the contents do not fit their
// own model config; never leaves a half-written session. Rows that are not finite, which opening would
// refuse, are left out with all of their kind in that thought: replay computes them again.
struct SaveReport {
    int64_t bytes_total = 0, bytes_written = 0, blobs_total = 0, blobs_written = 0;
    int64_t thoughts_without_rows = 0;  // whose rows were left out as not finite
};
SaveReport save_session(const std::string& folder, const SessionContents& contents, const SaveOptions& options = {});

// Reads the manifest and all blobs, checking each blob's sha256. `expected`: refuses a session of another
// model, tokenizer or (unless `allow_other_sidecar`) sidecar with a message that says what differs.
// Takes no lock: a session that is saved meanwhile is read as it was before or after.
SessionContents open_session(const std::string& folder, const SessionIdentity* expected = nullptr,
                             bool allow_other_sidecar = true);

// Another one after each save: whether a session was saved by someone else since. Empty: never saved.
std::string session_version(const std::string& folder);

// For `savepoint session info|verify`: facts and every problem found (empty: sound).
struct SessionSummary {
    nlohmann::json facts;  // schema, application, model, thoughts, tokens, blobs, bytes by kind
    std::vector<std::string> problems;
};
SessionSummary inspect_session(const std::string& folder, bool verify_blobs);

}  // namespace savepoint
