#include "core/state/session.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/state/json_fields.h"
#include "core/state/session_blobs.h"
#include "core/state/session_manifest.h"

namespace savepoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string manifest_path(const std::string& folder) { return folder + "/manifest.json"; }

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text.data();
}

// -- saving ---------------------------------------------------------------------------------------------

// Writes blobs under their hashes; one that is there already is not written again.
class BlobWriter {
   public:
    BlobWriter(std::string folder, SaveReport& report) : folder_(std::move(folder)), report_(report) {}

    std::string write(const TensorFile& file) {
        const std::string bytes = to_safetensors(file);
        const std::string hash = sha256_hex(bytes), path = folder_ + "/" + hash + ".safetensors";
        if (!names_.insert(hash + ".safetensors").second) return hash;
        ++report_.blobs_total;
        report_.bytes_total += static_cast<int64_t>(bytes.size());
        std::error_code missing;
        if (fs::file_size(path, missing) == bytes.size() && !missing) return hash;
        replace_file(path, bytes);
        ++report_.blobs_written;
        report_.bytes_written += static_cast<int64_t>(bytes.size());
        return hash;
    }
    const std::set<std::string>& names() const { return names_; }

   private:
    std::string folder_;
    SaveReport& report_;
    std::set<std::string> names_;
};

void write_blobs(const Thought& thought, ThoughtRecord& record, BlobWriter& writer) {
    for (int64_t first = 0; first < record.tokens; first += kSegmentTokens) {
        const int64_t count = std::min(kSegmentTokens, record.tokens - first);
        record.segments.push_back({writer.write(segment_of(thought, record, first, count)), count});
    }
    if (thought.latent) {
        record.latent_blob = writer.write(latent_of(*thought.latent));
        return;
    }
    for (size_t first = 0; first < thought.edits.size(); first += kSegmentTokens) {
        const size_t count = std::min<size_t>(kSegmentTokens, thought.edits.size() - first);
        record.edit_blobs.resize(first + count, writer.write(edits_of(thought, first, count)));
    }
}

std::vector<ThoughtRecord> records_of(const SessionContents& contents, const SaveOptions& options,
                                      const ModelShape& shape, SaveReport& report) {
    std::vector<ThoughtRecord> records;
    for (const auto& [id, thought] : contents.graph.thoughts()) {
        bool dropped = false;
        records.push_back(record_of(thought, shape, options.exact_rows, &dropped));
        report.thoughts_without_rows += dropped;
    }
    return records;
}

Manifest manifest_of(const SessionContents& contents, const ModelShape& shape, std::vector<ThoughtRecord> records) {
    Manifest manifest;
    manifest.application = application_name();
    manifest.saved_at = utc_now();
    manifest.identity = contents.identity;
    manifest.shape = shape;
    manifest.thoughts = std::move(records);
    manifest.current = contents.current;
    manifest.selected = contents.selected;
    manifest.next_id = contents.graph.next_id();
    manifest.view = contents.view;
    return manifest;
}

// Labels and notes may hold bytes of half a character: a replacement character is better than no session.
std::string manifest_text(const Manifest& manifest, const std::string& file) {
    std::string text = manifest_json(manifest).dump(1, ' ', false, json::error_handler_t::replace);
    // Never save what could not be opened.
    manifest_from(parse_json(text, file), file);
    return text;
}

bool is_blob_name(const std::string& name) {
    constexpr std::string_view suffix = ".safetensors";
    return name.ends_with(suffix) && is_sha256(name.substr(0, name.size() - suffix.size()));
}

template <typename Unwanted>
void remove_files(const std::string& folder, Unwanted unwanted) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder))
        if (unwanted(entry.path().filename().string())) paths.push_back(entry.path());
    for (const fs::path& path : paths) fs::remove(path);
}

// What cannot be removed now is removed by the next save: the session is already whole.
void collect_garbage(const std::string& folder, const std::set<std::string>& needed) {
    try {
        remove_files(folder + "/blobs", [&](const std::string& name) {
            return is_temporary(name) || (is_blob_name(name) && !needed.contains(name));
        });
        remove_files(folder, is_temporary);
    } catch (const fs::filesystem_error&) {
    }
}

// -- opening --------------------------------------------------------------------------------------------

std::string brief(const std::string& hash) { return hash.empty() ? "none" : hash.substr(0, 12); }

void check_identity(const std::string& folder, const SessionIdentity& made, const SessionIdentity& now,
                    bool allow_other_sidecar) {
    if (made.model_sha256 != now.model_sha256)
        throw FileError(folder, "was made with the model " + made.model_name + " (SHA-256 " + brief(made.model_sha256) +
                                    "); loaded is " + now.model_name + " (" + brief(now.model_sha256) +
                                    "). Load that model file, or start a new session");
    if (made.tokenizer_hash != now.tokenizer_hash)
        throw FileError(folder, "was made with the tokenizer " + brief(made.tokenizer_hash) + "; loaded is " +
                                    brief(now.tokenizer_hash) + ". Load the model file that the session was made with");
    const bool same_sidecar = made.sidecar_hash.empty() || made.sidecar_hash == now.sidecar_hash;
    if (!same_sidecar && !allow_other_sidecar)
        throw FileError(folder, "was made with the sidecar " + brief(made.sidecar_hash) + "; loaded is " +
                                    brief(now.sidecar_hash) + ". Load that sidecar, or allow another one");
}

// Before anything is allocated for what the manifest claims.
void check_memory(const Manifest& manifest, const std::string& file) {
    const TokenBytes bytes = token_bytes(manifest.shape);
    double total = 0;
    for (const ThoughtRecord& record : manifest.thoughts)
        total += static_cast<double>(record.latent_bytes) +
                 static_cast<double>(record.tokens) *
                     ((record.has_kv ? static_cast<double>(bytes.key + bytes.value) : 0.0) +
                      static_cast<double>((record.has_last ? bytes.last : 0) + bytes.stats));
    if (total > static_cast<double>(physical_memory()))
        throw FileError(file, "describes " + std::to_string(static_cast<int64_t>(total / 1e6)) +
                                  " MB of rows, more than this machine has memory");
}

std::string read_manifest_text(const std::string& folder) {
    std::error_code unreadable;
    if (!fs::exists(manifest_path(folder), unreadable) && !unreadable)
        throw FileError(folder, "has no manifest.json: it is not a session, or its first save was never finished");
    return read_file(manifest_path(folder));
}

void put(ThoughtGraph& graph, Thought thought, const std::string& file) {
    try {
        graph.insert(std::move(thought));
    } catch (const InputError& e) {
        throw FileError(file, e.what());
    }
}

SessionContents contents_from(const Manifest& manifest, const std::string& folder) {
    SessionContents contents;
    contents.identity = manifest.identity;
    contents.current = manifest.current;
    contents.selected = manifest.selected;
    contents.view = manifest.view;
    const BlobReader blobs(folder, manifest.shape);
    for (const ThoughtRecord& record : manifest.thoughts)
        put(contents.graph, blobs.thought(record), manifest_path(folder));
    contents.graph.reserve_ids(manifest.next_id);
    return contents;
}

SessionContents open_text(const std::string& text, const std::string& folder, const SessionIdentity* expected,
                          bool allow_other_sidecar) {
    const std::string file = manifest_path(folder);
    const Manifest manifest = manifest_from(parse_json(text, file), file);
    if (expected) check_identity(folder, manifest.identity, *expected, allow_other_sidecar);
    check_memory(manifest, file);
    return contents_from(manifest, folder);
}

// -- inspecting -----------------------------------------------------------------------------------------

json bytes_by_kind(const Manifest& manifest) {
    const TokenBytes each = token_bytes(manifest.shape);
    int64_t ids = 0, stats = 0, key = 0, value = 0, last = 0, z = 0;
    for (const ThoughtRecord& record : manifest.thoughts) {
        ids += record.tokens * each.ids;
        if (record.has_stats) stats += record.tokens * each.stats;
        if (record.has_kv) key += record.tokens * each.key, value += record.tokens * each.value;
        if (record.has_last) last += record.tokens * each.last;
        z += record.latent_bytes;
    }
    return {{"ids", ids}, {"stats", stats}, {"key", key}, {"value", value}, {"last", last}, {"z", z}};
}

std::set<std::string> blobs_of(const Manifest& manifest) {
    std::set<std::string> blobs;
    for (const ThoughtRecord& record : manifest.thoughts) {
        for (const SegmentRef& segment : record.segments) blobs.insert(segment.blob);
        blobs.insert(record.edit_blobs.begin(), record.edit_blobs.end());
        if (!record.latent_blob.empty()) blobs.insert(record.latent_blob);
    }
    return blobs;
}

int64_t tokens_of(const Manifest& manifest) {
    int64_t tokens = 0;
    for (const ThoughtRecord& record : manifest.thoughts) tokens += record.tokens;
    return tokens;
}

int64_t unreferenced_files(const std::string& folder, const std::set<std::string>& blobs) {
    std::error_code ignored;
    int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(folder + "/blobs", ignored))
        count += !blobs.contains(entry.path().stem().string());
    return count;
}

json facts_of(const Manifest& manifest, const std::string& folder, std::vector<std::string>& problems) {
    const BlobReader reader(folder, manifest.shape);
    const std::set<std::string> blobs = blobs_of(manifest);
    int64_t bytes = 0;
    for (const std::string& blob : blobs) {
        std::error_code missing;
        const auto size = fs::file_size(reader.path(blob), missing);
        if (missing)
            problems.push_back(reader.path(blob) + ": is missing; restore it from a copy of the session");
        else
            bytes += static_cast<int64_t>(size);
    }
    const SessionIdentity& id = manifest.identity;
    return {{"schema_version", kSessionSchema},
            {"application", manifest.application},
            {"saved_at", manifest.saved_at},
            {"model", {{"name", id.model_name}, {"sha256", id.model_sha256}}},
            {"tokenizer_hash", id.tokenizer_hash},
            {"sidecar_hash", id.sidecar_hash},
            {"current", manifest.current},
            {"thoughts", manifest.thoughts.size()},
            {"tokens", tokens_of(manifest)},
            {"blobs", blobs.size()},
            {"blob_bytes", bytes},
            {"bytes_by_kind", bytes_by_kind(manifest)},
            {"unreferenced_files", unreferenced_files(folder, blobs)}};
}

void verify_thoughts(const Manifest& manifest, const std::string& folder, std::vector<std::string>& problems) {
    const BlobReader reader(folder, manifest.shape);
    ThoughtGraph graph;
    for (const ThoughtRecord& record : manifest.thoughts) {
        try {
            Thought thought = reader.thought(record);
            check_thought(thought);
            thought.rows = {};  // one thought's at a time is enough in memory
            // Where one is damaged its branches have lost their parent, which is no problem of their own.
            if (problems.empty()) put(graph, std::move(thought), manifest_path(folder));
        } catch (const Error& e) {
            problems.emplace_back(e.what());
        }
    }
}

}  // namespace

SaveReport save_session(const std::string& folder, const SessionContents& contents, const SaveOptions& options) {
    const std::string file = manifest_path(folder);
    const ModelShape shape = model_shape(contents.identity.model_config, file);
    SaveReport report;
    Manifest manifest = manifest_of(contents, shape, records_of(contents, options, shape, report));

    std::optional<SessionLock> lock;
    if (!options.held || !options.held->holds(folder)) lock.emplace(folder);
    BlobWriter writer(folder + "/blobs", report);
    for (ThoughtRecord& record : manifest.thoughts) write_blobs(contents.graph.at(record.thought.id), record, writer);
    const std::string text = manifest_text(manifest, file);
    sync_folder(folder + "/blobs");
    write_atomically(file, text);
    report.bytes_total += static_cast<int64_t>(text.size());
    report.bytes_written += static_cast<int64_t>(text.size());
    collect_garbage(folder, writer.names());
    return report;
}

SessionContents open_session(const std::string& folder, const SessionIdentity* expected, bool allow_other_sidecar) {
    std::string text = read_manifest_text(folder);
    for (int attempt = 0;; ++attempt) {
        try {
            return open_text(text, folder, expected, allow_other_sidecar);
        } catch (const FileError&) {
            // Another process may have saved meanwhile, and removed blobs that this manifest names.
            std::string now = read_manifest_text(folder);
            if (now == text || attempt == 3) throw;
            text = std::move(now);
        }
    }
}

std::string session_version(const std::string& folder) {
    std::error_code unreadable;
    if (!fs::exists(manifest_path(folder), unreadable)) return {};
    return sha256_hex(read_manifest_text(folder));
}

SessionSummary inspect_session(const std::string& folder, bool verify_blobs) {
    SessionSummary summary;
    const std::string file = manifest_path(folder);
    try {
        const Manifest manifest = manifest_from(parse_json(read_manifest_text(folder), file), file);
        summary.facts = facts_of(manifest, folder, summary.problems);
        check_memory(manifest, file);
        if (verify_blobs) verify_thoughts(manifest, folder, summary.problems);
    } catch (const Error& e) {
        summary.problems.emplace_back(e.what());
    }
    return summary;
}

}  // namespace savepoint
