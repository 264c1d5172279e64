#include "core/state/session_blobs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kCandidates = 10;
constexpr int64_t kScalars = 4;  // log_probability, entropy, anomaly, hidden_fvu

using Sizes = std::vector<int64_t>;

Sizes kv_sizes(const ModelShape& shape, int64_t tokens) {
    return {tokens, shape.layers, shape.kv_heads, shape.head_dim};
}

bool finite(const at::Tensor& tensor) { return at::isfinite(tensor).all().item<bool>(); }

// -- writing --------------------------------------------------------------------------------------------

void check_sizes(const Thought& thought, const at::Tensor& tensor, const Sizes& sizes, const std::string& name) {
    if (tensor.sizes() == at::IntArrayRef(sizes) && tensor.scalar_type() == at::kFloat) return;
    throw InputError("thought " + std::to_string(thought.id) + ": " + name +
                     " does not have the sizes of the model's config");
}

bool storable(const Thought& thought, const at::Tensor& tensor, const Sizes& sizes, const std::string& name,
              bool* dropped) {
    check_sizes(thought, tensor, sizes, name);
    if (finite(tensor)) return true;
    *dropped = true;
    return false;
}

// A thought may have been given scores for some of its tokens only.
TokenStats stats_at(const Thought& thought, int64_t index) {
    return index < static_cast<int64_t>(thought.stats.size()) ? thought.stats[index] : TokenStats{NAN, NAN, {}};
}

void put_candidates(const TokenStats& stats, int32_t* ids, float* probabilities) {
    const size_t count = std::min<size_t>(stats.next.size(), kCandidates);
    for (size_t j = 0; j < count; ++j) {
        ids[j] = stats.next[j].id;
        probabilities[j] = stats.next[j].probability;
    }
}

void put_stats(const Thought& thought, int64_t first, int64_t count, TensorFile& file) {
    at::Tensor scalars = at::empty({kScalars, count}, at::kFloat);
    at::Tensor ids = at::full({count, kCandidates}, -1, at::kInt),
               probabilities = at::zeros({count, kCandidates}, at::kFloat);
    auto* scalar = scalars.data_ptr<float>();
    for (int64_t i = 0; i < count; ++i) {
        const TokenStats stats = stats_at(thought, first + i);
        scalar[i] = stats.log_probability;
        scalar[count + i] = stats.entropy;
        scalar[2 * count + i] = stats.anomaly;
        scalar[3 * count + i] = stats.hidden_fvu;
        put_candidates(stats, ids.data_ptr<int32_t>() + i * kCandidates,
                       probabilities.data_ptr<float>() + i * kCandidates);
    }
    file.tensors["log_probability"] = scalars[0];
    file.tensors["entropy"] = scalars[1];
    file.tensors["anomaly"] = scalars[2];
    file.tensors["hidden_fvu"] = scalars[3];
    file.tensors["top_ids"] = ids;
    file.tensors["top_probabilities"] = probabilities;
}

std::string edit_name(const RowEdit& edit, const char* part) {
    return "edit." + std::to_string(edit.position) + "." + part;
}

at::Tensor stack(const std::vector<KvRow>& rows, at::Tensor KvRow::*part) {
    std::vector<at::Tensor> tensors;
    for (const KvRow& row : rows) tensors.push_back(row.*part);
    return at::stack(tensors);
}

void check_edits(const Thought& thought, const ModelShape& shape) {
    for (const RowEdit& edit : thought.edits) {
        if (edit.hidden.defined()) check_sizes(thought, edit.hidden, {shape.d_model}, "an edit's hidden row");
        for (const KvRow& row : edit.kv) {
            check_sizes(thought, row.key, {shape.kv_heads, shape.head_dim}, "an edit's key row");
            check_sizes(thought, row.value, {shape.kv_heads, shape.head_dim}, "an edit's value row");
        }
    }
}

// -- reading --------------------------------------------------------------------------------------------

// Takes tensors out of one blob, with the checks; knows the file's name for messages.
class Part {
   public:
    Part(const TensorFile& file, std::string name) : file_(file), name_(std::move(name)) {}

    at::Tensor get(const std::string& key, const Sizes& sizes, at::ScalarType type = at::kFloat) const {
        const auto found = file_.tensors.find(key);
        if (found == file_.tensors.end()) throw FileError(name_, "the tensor " + key + " is missing");
        if (found->second.scalar_type() != type) refuse(key, "has the wrong dtype");
        if (found->second.sizes() != at::IntArrayRef(sizes))
            refuse(key, "does not have the shape that manifest.json gives it");
        return found->second;
    }
    at::Tensor finite_rows(const std::string& key, const Sizes& sizes) const {
        at::Tensor rows = get(key, sizes);
        if (!finite(rows)) refuse(key, "holds NaN or infinity, which would spoil every token after it");
        return rows;
    }
    std::vector<TokenId> ids(const std::string& key, const Sizes& sizes, int64_t low, int64_t vocab) const {
        const at::Tensor tensor = get(key, sizes, at::kInt);
        const auto* begin = tensor.data_ptr<int32_t>();
        std::vector<TokenId> values(begin, begin + tensor.numel());
        for (const TokenId id : values)
            if (id < low || id >= vocab)
                refuse(key, "holds the token id " + std::to_string(id) + ", which the model does not have");
        return values;
    }
    std::vector<float> numbers(const std::string& key, const Sizes& sizes) const {
        const at::Tensor tensor = get(key, sizes);
        const auto* begin = tensor.data_ptr<float>();
        return {begin, begin + tensor.numel()};
    }

   private:
    [[noreturn]] void refuse(const std::string& key, const std::string& problem) const {
        throw FileError(name_, "the tensor " + key + " " + problem);
    }
    const TensorFile& file_;
    std::string name_;
};

std::vector<Candidate> candidates_from(const TokenId* ids, const float* probabilities) {
    std::vector<Candidate> next;
    for (int64_t j = 0; j < kCandidates && ids[j] >= 0; ++j) next.push_back({ids[j], probabilities[j]});
    return next;
}

void take_stats(const Part& part, int64_t count, int64_t vocab, std::vector<TokenStats>& stats) {
    const auto log_probability = part.numbers("log_probability", {count}), entropy = part.numbers("entropy", {count});
    const auto anomaly = part.numbers("anomaly", {count}), hidden_fvu = part.numbers("hidden_fvu", {count});
    const auto ids = part.ids("top_ids", {count, kCandidates}, -1, vocab);
    const auto probabilities = part.numbers("top_probabilities", {count, kCandidates});
    for (int64_t i = 0; i < count; ++i)
        stats.push_back({log_probability[i], entropy[i],
                         candidates_from(ids.data() + i * kCandidates, probabilities.data() + i * kCandidates),
                         anomaly[i], hidden_fvu[i]});
}

StateRows joined(const std::vector<StateRows>& parts, at::Tensor StateRows::*member, StateRows rows) {
    std::vector<at::Tensor> tensors;
    for (const StateRows& part : parts) tensors.push_back(part.*member);
    if (!tensors.empty() && tensors.front().defined())
        rows.*member = tensors.size() == 1 ? tensors.front() : at::cat(tensors);
    return rows;
}

}  // namespace

TokenBytes token_bytes(const ModelShape& shape) {
    constexpr int64_t f32 = sizeof(float);
    const int64_t kv = shape.layers * shape.kv_heads * shape.head_dim * f32;
    return {sizeof(int32_t), (kScalars + 2 * kCandidates) * f32, kv, kv, shape.d_model * f32};
}

ThoughtRecord record_of(const Thought& thought, const ModelShape& shape, bool exact_rows, bool* dropped_rows) {
    ThoughtRecord record;
    record.thought = outline_of(thought);
    record.tokens = static_cast<int64_t>(thought.tokens.size());
    record.has_stats = !thought.stats.empty();
    for (const TokenId id : thought.tokens)
        if (id >= shape.vocab)
            throw InputError("thought " + std::to_string(thought.id) +
                             ": a token id is outside the model's vocabulary");
    if (thought.latent) record.latent_bytes = static_cast<int64_t>(thought.latent->bytes.size());
    if (record.tokens == 0 || thought.latent) return record;
    check_edits(thought, shape);
    if (!exact_rows) return record;
    if (thought.rows.has_kv())
        record.has_kv = storable(thought, thought.rows.key, kv_sizes(shape, record.tokens), "key", dropped_rows) &&
                        storable(thought, thought.rows.value, kv_sizes(shape, record.tokens), "value", dropped_rows);
    if (const at::Tensor last = last_rows(thought.rows); last.defined())
        record.has_last = storable(thought, last, {record.tokens, shape.d_model}, "last", dropped_rows);
    return record;
}

TensorFile segment_of(const Thought& thought, const ThoughtRecord& record, int64_t first, int64_t count) {
    TensorFile file;
    file.metadata = {{"savepoint", "segment"}};
    at::Tensor ids = at::empty({count}, at::kInt);
    std::copy_n(thought.tokens.begin() + first, count, ids.data_ptr<int32_t>());
    file.tensors["ids"] = ids;
    if (record.has_stats) put_stats(thought, first, count, file);
    if (record.has_kv) {
        file.tensors["key"] = thought.rows.key.narrow(0, first, count);
        file.tensors["value"] = thought.rows.value.narrow(0, first, count);
    }
    if (record.has_last) file.tensors["last"] = last_rows(thought.rows).narrow(0, first, count);
    return file;
}

TensorFile edits_of(const Thought& thought, size_t first, size_t count) {
    TensorFile file;
    file.metadata = {{"savepoint", "edits"}};
    for (size_t i = first; i < first + count; ++i) {
        const RowEdit& edit = thought.edits[i];
        if (edit.hidden.defined()) file.tensors[edit_name(edit, "hidden")] = edit.hidden;
        if (edit.kv.empty()) continue;
        file.tensors[edit_name(edit, "key")] = stack(edit.kv, &KvRow::key);
        file.tensors[edit_name(edit, "value")] = stack(edit.kv, &KvRow::value);
    }
    return file;
}

TensorFile latent_of(const StoredLatent& latent) {
    TensorFile file;
    file.metadata = {{"savepoint", "latent"}};
    at::Tensor z = at::empty({static_cast<int64_t>(latent.bytes.size())}, at::kByte);
    std::copy(latent.bytes.begin(), latent.bytes.end(), reinterpret_cast<char*>(z.data_ptr<uint8_t>()));
    file.tensors["z"] = z;
    return file;
}

std::string BlobReader::path(const std::string& blob) const { return folder_ + "/blobs/" + blob + ".safetensors"; }

TensorFile BlobReader::read(const std::string& blob) const {
    const std::string bytes = read_file(path(blob));
    if (sha256_hex(bytes) != blob)
        throw FileError(
            path(blob),
            "is damaged: its contents do not have the SHA-256 of its name. Restore it from a copy of the session");
    return from_safetensors(bytes, path(blob));
}

void BlobReader::read_segment(const ThoughtRecord& record, const SegmentRef& segment, Thought& thought,
                              std::vector<StateRows>& parts) const {
    const TensorFile file = read(segment.blob);
    const Part part(file, path(segment.blob));
    const std::vector<TokenId> ids = part.ids("ids", {segment.count}, 0, shape_.vocab);
    thought.tokens.insert(thought.tokens.end(), ids.begin(), ids.end());
    if (record.has_stats) take_stats(part, segment.count, shape_.vocab, thought.stats);
    StateRows rows;
    if (record.has_kv) rows.key = part.finite_rows("key", kv_sizes(shape_, segment.count));
    if (record.has_kv) rows.value = part.finite_rows("value", kv_sizes(shape_, segment.count));
    if (record.has_last) rows.last = part.finite_rows("last", {segment.count, shape_.d_model});
    parts.push_back(std::move(rows));
}

void BlobReader::read_edits(const ThoughtRecord& record, Thought& thought) const {
    std::string open;
    TensorFile file;
    for (size_t i = 0; i < thought.edits.size(); ++i) {
        const std::string& blob = record.edit_blobs[i];
        if (blob != open) file = read(blob);
        open = blob;
        const Part part(file, path(blob));
        RowEdit& edit = thought.edits[i];
        if (edit.hidden_block >= 0) edit.hidden = part.finite_rows(edit_name(edit, "hidden"), {shape_.d_model});
        if (edit.kv.empty()) continue;
        const Sizes sizes = {static_cast<int64_t>(edit.kv.size()), shape_.kv_heads, shape_.head_dim};
        const at::Tensor key = part.finite_rows(edit_name(edit, "key"), sizes),
                         value = part.finite_rows(edit_name(edit, "value"), sizes);
        for (size_t j = 0; j < edit.kv.size(); ++j) {
            edit.kv[j].key = key[static_cast<int64_t>(j)];
            edit.kv[j].value = value[static_cast<int64_t>(j)];
        }
    }
}

void BlobReader::read_latent(const ThoughtRecord& record, Thought& thought) const {
    if (!thought.latent) return;
    const TensorFile file = read(record.latent_blob);
    const at::Tensor z = Part(file, path(record.latent_blob)).get("z", {record.latent_bytes}, at::kByte);
    auto latent = std::make_shared<StoredLatent>(*thought.latent);
    latent->bytes.assign(reinterpret_cast<const char*>(z.const_data_ptr<uint8_t>()), static_cast<size_t>(z.numel()));
    thought.latent = std::move(latent);
}

Thought BlobReader::thought(const ThoughtRecord& record) const {
    Thought thought = record.thought;
    std::vector<StateRows> parts;
    for (const SegmentRef& segment : record.segments) read_segment(record, segment, thought, parts);
    for (const auto member : {&StateRows::key, &StateRows::value, &StateRows::last})
        thought.rows = joined(parts, member, std::move(thought.rows));
    read_edits(record, thought);
    read_latent(record, thought);
    return thought;
}

}  // namespace savepoint
