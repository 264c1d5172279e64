#include "core/state/session_manifest.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/model/error.h"
#include "core/state/json_fields.h"

namespace savepoint {
namespace {

using nlohmann::json;

constexpr int64_t kMaxId = int64_t{1} << 53;  // exact in every JSON reader
constexpr int64_t kMaxTokens = int64_t{1} << 40;
constexpr int64_t kMaxDimension = int64_t{1} << 24;
constexpr int64_t kOldestSchema = 1;

// One entry per version that is older than kSessionSchema, oldest first.
const std::vector<Migration>& migrations() {
    static const std::vector<Migration> steps = {
        [](json&) {},  // 1: no thought was kept as z, which a field that may be missing says
    };
    return steps;
}

// -- to JSON --------------------------------------------------------------------------------------------

json sampler_json(const SamplerSettings& s) {
    return {{"greedy", s.greedy}, {"temperature", s.temperature},
            {"top_k", s.top_k},   {"top_p", s.top_p},
            {"min_p", s.min_p},   {"seed", s.seed}};
}

json shape_json(const ExecutionShape& s) {
    return {{"prefilled", s.prefilled},
            {"chunk", s.chunk},
            {"threads", s.threads},
            {"device", s.device},
            {"precision", s.precision}};
}

json edit_json(const RowEdit& edit, const std::string& blob) {
    json blocks = json::array();
    for (const KvRow& row : edit.kv) blocks.push_back(row.block);
    return {{"position", edit.position}, {"hidden_block", edit.hidden_block}, {"kv_blocks", blocks}, {"blob", blob}};
}

json edits_json(const ThoughtRecord& record) {
    json edits = json::array();
    for (size_t i = 0; i < record.edit_blobs.size(); ++i)
        edits.push_back(edit_json(record.thought.edits[i], record.edit_blobs[i]));
    return edits;
}

json segments_json(const ThoughtRecord& record) {
    json segments = json::array();
    int64_t first = 0;
    for (const SegmentRef& segment : record.segments) {
        segments.push_back({{"blob", segment.blob}, {"first", first}, {"count", segment.count}});
        first += segment.count;
    }
    return segments;
}

json latent_json(const ThoughtRecord& record) {
    const StoredLatent& z = *record.thought.latent;
    return {{"blob", record.latent_blob},
            {"bytes", record.latent_bytes},
            {"codec", z.codec},
            {"codec_digest", z.codec_digest},
            {"exact_first", z.exact_first}};
}

json record_json(const ThoughtRecord& record) {
    const Thought& t = record.thought;
    json target = {{"id", t.id},
                   {"parent", t.parent},
                   {"other_parent", t.other_parent},
                   {"prefix", t.prefix},
                   {"edge", to_string(t.edge)},
                   {"tokens", record.tokens},
                   {"prompt_tokens", t.prompt_tokens},
                   {"complete", t.complete},
                   {"has_stats", record.has_stats},
                   {"has_kv", record.has_kv},
                   {"has_last", record.has_last},
                   {"segments", segments_json(record)},
                   {"edits", edits_json(record)},
                   {"sampler", sampler_json(t.sampler)},
                   {"shape", shape_json(t.shape)},
                   {"provenance", t.provenance},
                   {"label", t.label},
                   {"note", t.note},
                   {"bookmarked", t.bookmarked},
                   {"reward", t.reward}};
    if (t.latent) target["latent"] = latent_json(record);
    return target;
}

// -- from JSON ------------------------------------------------------------------------------------------

SamplerSettings sampler_from(const Fields& fields) {
    using Limits = std::numeric_limits<int32_t>;
    SamplerSettings s;
    s.greedy = fields.boolean("greedy");
    s.temperature = fields.single("temperature");
    s.top_k = static_cast<int32_t>(fields.integer("top_k", Limits::min(), Limits::max()));
    s.top_p = fields.single("top_p");
    s.min_p = fields.single("min_p");
    s.seed = fields.unsigned_integer("seed");
    return s;
}

ExecutionShape shape_from(const Fields& fields) {
    ExecutionShape s;
    s.prefilled = fields.integer("prefilled", 0, kMaxTokens);
    s.chunk = fields.integer("chunk", 0, kMaxTokens);
    s.threads = static_cast<int32_t>(fields.integer("threads", 0, 4096));
    s.device = fields.text("device");
    s.precision = fields.text("precision");
    return s;
}

EdgeKind edge_from(const Fields& fields) {
    try {
        return edge_kind_from(fields.text("edge"));
    } catch (const InputError& e) {
        fields.refuse("edge", e.what());
    }
}

void read_segments(const Fields& fields, ThoughtRecord& record) {
    const size_t count = fields.array("segments").size();
    int64_t first = 0;
    for (size_t i = 0; i < count; ++i) {
        const Fields segment = fields.element("segments", i);
        if (segment.integer("first", 0, kMaxTokens) != first)
            segment.refuse("first", "does not follow the segment before it");
        record.segments.push_back({segment.sha256("blob"), segment.integer("count", 1, kSegmentTokens)});
        first += record.segments.back().count;
    }
    if (first != record.tokens) fields.refuse("segments", "do not add up to the thought's tokens");
}

RowEdit edit_from(const Fields& fields, const ModelShape& shape) {
    RowEdit edit;
    edit.position = fields.integer("position", 0, kMaxTokens);
    edit.hidden_block = fields.integer("hidden_block", -1, shape.layers - 1);
    for (const json& block : fields.array("kv_blocks")) {
        const int64_t previous = edit.kv.empty() ? -1 : edit.kv.back().block;
        if (!block.is_number_integer() || block > shape.layers - 1 || block <= previous)
            fields.refuse("kv_blocks", "are not ascending blocks of the model");
        edit.kv.push_back({block.get<int64_t>(), {}, {}});
    }
    if (edit.empty()) fields.refuse("kv_blocks", "are empty and no hidden_block is set: the edit changes nothing");
    return edit;
}

void read_edits(const Fields& fields, const ModelShape& shape, ThoughtRecord& record) {
    const Thought& t = record.thought;
    const size_t count = fields.array("edits").size();
    for (size_t i = 0; i < count; ++i) {
        const Fields edit = fields.element("edits", i);
        const int64_t low = i == 0 ? t.prefix : t.edits.back().position + 1;
        const int64_t high = t.complete ? t.prefix + record.tokens - 1 : kMaxTokens;
        edit.integer("position", low, high);
        record.thought.edits.push_back(edit_from(edit, shape));
        record.edit_blobs.push_back(edit.sha256("blob"));
    }
}

void read_latent(const Fields& fields, ThoughtRecord& record) {
    if (!fields.has("latent")) return;
    const Fields latent = fields.object("latent");
    auto z = std::make_shared<StoredLatent>();
    record.latent_blob = latent.sha256("blob");
    record.latent_bytes = latent.integer("bytes", 1, kMaxTokens);
    z->codec = latent.text("codec");
    z->codec_digest = latent.sha256("codec_digest");
    z->exact_first = latent.integer("exact_first", 1, std::max<int64_t>(1, record.tokens - 2));
    record.thought.latent = std::move(z);
}

ThoughtRecord record_from(const Fields& fields, const ModelShape& shape) {
    ThoughtRecord record;
    Thought& t = record.thought;
    t.id = fields.integer("id", 1, kMaxId);
    t.parent = fields.integer("parent", 0, t.id - 1);
    t.other_parent = fields.integer("other_parent", 0, t.id - 1);
    t.prefix = fields.integer("prefix", 0, kMaxTokens);
    t.edge = edge_from(fields);
    record.tokens = fields.integer("tokens", 0, kMaxTokens);
    t.complete = fields.boolean("complete");
    t.prompt_tokens = fields.integer("prompt_tokens", 0, t.complete ? record.tokens : kMaxTokens);
    record.has_stats = fields.boolean("has_stats");
    record.has_kv = fields.boolean("has_kv");
    record.has_last = fields.boolean("has_last");
    read_segments(fields, record);
    read_edits(fields, shape, record);
    read_latent(fields, record);
    t.sampler = sampler_from(fields.object("sampler"));
    t.shape = shape_from(fields.object("shape"));
    t.provenance = fields.any("provenance");
    t.label = fields.text("label");
    t.note = fields.text("note");
    t.bookmarked = fields.boolean("bookmarked");
    t.reward = fields.number("reward");
    return record;
}

void check_selected(const TokenRef& token, const std::map<ThoughtId, int64_t>& lengths, const std::string& file) {
    if (token.thought == 0) return;
    const auto found = lengths.find(token.thought);
    if (found == lengths.end()) throw FileError(file, "selected.thought is no thought of the session");
    if (token.position >= found->second) throw FileError(file, "selected.position is behind the end of its path");
}

// The paths, before anything is read for them: later checks lean on lengths that make sense.
void check_paths(const Manifest& manifest, const std::string& file) {
    std::map<ThoughtId, int64_t> lengths = {{0, 0}};
    for (const ThoughtRecord& record : manifest.thoughts) {
        const Thought& t = record.thought;
        const std::string name = "thought " + std::to_string(t.id);
        if (t.id <= lengths.rbegin()->first) throw FileError(file, name + ": ids are not ascending");
        if (!lengths.contains(t.parent))
            throw FileError(file, name + ": its parent " + std::to_string(t.parent) + " does not come before it");
        if (!lengths.contains(t.other_parent))
            throw FileError(file, name + ": its other_parent does not come before it");
        if (t.prefix > lengths[t.parent]) throw FileError(file, name + ": its prefix is longer than its parent's path");
        if (manifest.shape.context > 0 && t.prefix + record.tokens > manifest.shape.context)
            throw FileError(file, name + ": its path is longer than the model's context");
        lengths[t.id] = t.prefix + record.tokens;
    }
    if (!lengths.contains(manifest.current)) throw FileError(file, "current is no thought of the session");
    check_selected(manifest.selected, lengths, file);
    if (manifest.next_id <= lengths.rbegin()->first)
        throw FileError(file, "next_id is not above the last thought's id");
}

// Sessions of before lack it.
TokenRef selected_from(const Fields& fields) {
    if (!fields.has("selected")) return {};
    const Fields token = fields.object("selected");
    return {token.integer("thought", 1, kMaxId), token.integer("position", 0, kMaxTokens)};
}

SessionIdentity identity_from(const Fields& fields) {
    const Fields model = fields.object("model");
    SessionIdentity identity;
    identity.model_name = model.text("name");
    identity.model_sha256 = model.text("sha256");
    identity.model_config = model.any("config");
    identity.tokenizer_hash = fields.text("tokenizer_hash");
    identity.sidecar_hash = fields.text("sidecar_hash");
    return identity;
}

void refuse_newer(const json& json, const std::string& file) {
    const int64_t version = Fields(json, file, "").integer("schema_version", 0, kMaxId);
    if (version > kSessionSchema)
        throw FileError(file, "schema_version is " + std::to_string(version) + "; this Savepoint reads up to " +
                                  std::to_string(kSessionSchema) + ": open it with a newer Savepoint");
}

}  // namespace

void migrate(json& json, const std::string& file, int64_t first, const std::vector<Migration>& steps) {
    int64_t version = Fields(json, file, "").integer("schema_version", 0, kMaxId);
    if (version < first)
        throw FileError(file, "schema_version is " + std::to_string(version) + ", which no Savepoint has written");
    for (; version - first < static_cast<int64_t>(steps.size()); ++version) {
        steps[version - first](json);
        json["schema_version"] = version + 1;
    }
}

ModelShape model_shape(const json& config, const std::string& file) {
    const Fields fields(config, file, "model.config");
    ModelShape shape;
    shape.layers = fields.integer("layers", 1, 4096);
    shape.d_model = fields.integer("d_model", 1, kMaxDimension);
    shape.kv_heads = fields.integer("kv_heads", 1, 65536);
    shape.head_dim = fields.integer("head_dim", 1, 65536);
    shape.vocab = fields.integer("vocab", 1, std::numeric_limits<int32_t>::max());
    shape.context = fields.integer("context", 0, kMaxTokens);
    return shape;
}

json manifest_json(const Manifest& manifest) {
    const SessionIdentity& id = manifest.identity;
    json thoughts = json::array();
    for (const ThoughtRecord& record : manifest.thoughts) thoughts.push_back(record_json(record));
    json target = {{"schema_version", kSessionSchema},
                   {"application", manifest.application},
                   {"saved_at", manifest.saved_at},
                   {"model", {{"name", id.model_name}, {"sha256", id.model_sha256}, {"config", id.model_config}}},
                   {"tokenizer_hash", id.tokenizer_hash},
                   {"sidecar_hash", id.sidecar_hash},
                   {"current", manifest.current},
                   {"next_id", manifest.next_id},
                   {"thoughts", std::move(thoughts)},
                   {"view", manifest.view}};
    const TokenRef& selected = manifest.selected;
    if (selected.thought != 0) target["selected"] = {{"thought", selected.thought}, {"position", selected.position}};
    return target;
}

Manifest manifest_from(json source, const std::string& file) {
    refuse_newer(source, file);
    migrate(source, file, kOldestSchema, migrations());
    const Fields fields(source, file, "");
    Manifest manifest;
    manifest.application = fields.text("application");
    manifest.saved_at = fields.text("saved_at");
    manifest.identity = identity_from(fields);
    manifest.shape = model_shape(manifest.identity.model_config, file);
    const size_t count = fields.array("thoughts").size();
    for (size_t i = 0; i < count; ++i)
        manifest.thoughts.push_back(record_from(fields.element("thoughts", i), manifest.shape));
    manifest.current = fields.integer("current", 0, kMaxId);
    manifest.selected = selected_from(fields);
    manifest.next_id = fields.integer("next_id", 1, kMaxId);
    manifest.view = fields.any("view");
    check_paths(manifest, file);
    return manifest;
}

Thought outline_of(const Thought& thought) {
    Thought outline;
    outline.id = thought.id;
    outline.parent = thought.parent;
    outline.other_parent = thought.other_parent;
    outline.prefix = thought.prefix;
    outline.edge = thought.edge;
    outline.prompt_tokens = thought.prompt_tokens;
    if (!thought.latent) outline.edits = thought.edits;
    outline.latent = thought.latent;
    outline.provenance = thought.provenance;
    outline.sampler = thought.sampler;
    outline.shape = thought.shape;
    outline.label = thought.label;
    outline.note = thought.note;
    outline.bookmarked = thought.bookmarked;
    outline.reward = thought.reward;
    outline.complete = thought.complete;
    return outline;
}

std::string application_name() { return "Savepoint 0.1.0"; }

void to_json(json& target, const ModelConfig& c) {
    target = {{"architecture", c.architecture},
              {"name", c.name},
              {"layers", c.layers},
              {"d_model", c.d_model},
              {"d_ff", c.d_ff},
              {"heads", c.heads},
              {"kv_heads", c.kv_heads},
              {"head_dim", c.head_dim},
              {"vocab", c.vocab},
              {"context", c.context},
              {"norm_eps", c.norm_eps},
              {"rope_base", c.rope_base},
              {"norm", c.norm == NormKind::rms ? "rms" : "layer"},
              {"activation", c.activation == ActivationKind::silu   ? "silu"
                             : c.activation == ActivationKind::gelu ? "gelu"
                                                                    : "gelu_tanh"},
              {"gated_mlp", c.gated_mlp},
              {"tied_head", c.tied_head},
              {"attention_bias", c.attention_bias},
              {"qk_norm", c.qk_norm},
              {"embed_scale", c.embed_scale},
              {"post_norm", c.post_norm},
              {"sliding_window", c.sliding_window},
              {"global_every", c.global_every},
              {"local_rope_base", c.local_rope_base}};
}

}  // namespace savepoint
