#include "tests/core/state_toy.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/sampler.h"

namespace savepoint::toy {
namespace {

constexpr int64_t kLayers = 3, kDim = 64, kFf = 128, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kVocab = 96,
                  kContext = 2048;

class GgufWriter {
   public:
    void text(const std::string& key, const std::string& value) { name(key), put<uint32_t>(8), name(value), ++fields_; }
    void number(const std::string& key, uint32_t value) { name(key), put<uint32_t>(4), put(value), ++fields_; }
    void real(const std::string& key, float value) { name(key), put<uint32_t>(6), put(value), ++fields_; }

    void tensor(const std::string& key, const std::vector<int64_t>& shape, float scale) {
        std::swap(head_, info_);
        name(key);
        put(static_cast<uint32_t>(shape.size()));
        for (auto size = shape.rbegin(); size != shape.rend(); ++size) put(static_cast<uint64_t>(*size));
        put<uint32_t>(0);  // F32
        put(static_cast<uint64_t>(data_.size()));
        std::swap(head_, info_);
        int64_t count = 1;
        for (const int64_t size : shape) count *= size;
        fill(count, scale);
        ++tensors_;
    }

    std::string file() const {
        std::string bytes = "GGUF";
        const uint32_t version = 3;
        bytes.append(reinterpret_cast<const char*>(&version), 4);
        bytes.append(reinterpret_cast<const char*>(&tensors_), 8);
        bytes.append(reinterpret_cast<const char*>(&fields_), 8);
        bytes += head_ + info_;
        bytes.resize((bytes.size() + 31) / 32 * 32, '\0');
        return bytes + data_;
    }

   private:
    template <typename T>
    void put(T value) {
        head_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    }
    void name(const std::string& text) { put(static_cast<uint64_t>(text.size())), head_ += text; }

    // Norms (scale 0) are ones.
    void fill(int64_t count, float scale) {
        for (int64_t i = 0; i < count; ++i) {
            const float uniform = static_cast<float>(random_() >> 8) / static_cast<float>(1 << 24) * 2 - 1;
            const float value = scale == 0 ? 1.0f : uniform * scale;
            data_.append(reinterpret_cast<const char*>(&value), 4);
        }
        data_.resize((data_.size() + 31) / 32 * 32, '\0');
    }

    std::string head_, info_, data_;
    uint64_t tensors_ = 0, fields_ = 0;
    std::mt19937 random_{7};
};

void put_block(GgufWriter& file, int64_t layer) {
    const std::string at = "blk." + std::to_string(layer) + ".";
    const float narrow = std::sqrt(3.0f / kDim), wide = std::sqrt(3.0f / kFf);
    file.tensor(at + "attn_norm.weight", {kDim}, 0);
    file.tensor(at + "attn_q.weight", {kHeads * kHeadDim, kDim}, narrow);
    file.tensor(at + "attn_k.weight", {kKvHeads * kHeadDim, kDim}, narrow);
    file.tensor(at + "attn_v.weight", {kKvHeads * kHeadDim, kDim}, narrow);
    file.tensor(at + "attn_output.weight", {kDim, kHeads * kHeadDim}, narrow);
    file.tensor(at + "ffn_norm.weight", {kDim}, 0);
    file.tensor(at + "ffn_gate.weight", {kFf, kDim}, narrow);
    file.tensor(at + "ffn_up.weight", {kFf, kDim}, narrow);
    file.tensor(at + "ffn_down.weight", {kDim, kFf}, wide);
}

std::string model_file() {
    GgufWriter file;
    file.text("general.architecture", "llama");
    file.text("general.name", "toy");
    file.number("llama.block_count", kLayers);
    file.number("llama.embedding_length", kDim);
    file.number("llama.feed_forward_length", kFf);
    file.number("llama.attention.head_count", kHeads);
    file.number("llama.attention.head_count_kv", kKvHeads);
    file.number("llama.context_length", kContext);
    file.real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    file.tensor("token_embd.weight", {kVocab, kDim}, 1.0f);
    for (int64_t layer = 0; layer < kLayers; ++layer) put_block(file, layer);
    file.tensor("output_norm.weight", {kDim}, 0);
    return file.file();
}

std::shared_ptr<const Weights> load() {
    const Folder folder;
    const std::string path = folder.path("toy.gguf");
    std::ofstream(path, std::ios::binary) << model_file();
    return Weights::from_gguf(path);
}

at::Tensor some(const std::vector<int64_t>& shape, float scale, uint32_t seed) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-scale, scale);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = uniform(random);
    return tensor;
}

TokenStats stats_of(const at::Tensor& before, const at::Tensor& after, TokenId token) {
    const Distribution next = describe(after, 10);
    return {log_probability(before, token), next.entropy, next.top, 12.5f, NAN};
}

void decorate(ThoughtGraph& graph, ThoughtId id) {
    Thought& thought = graph.edit(id);
    thought.label = "label " + std::to_string(id);
    thought.note = "zwölf\nlines \"quoted\"";
    thought.bookmarked = id % 2 == 0;
    thought.reward = 0.1 * static_cast<double>(id);
    thought.sampler = {true, 0.7f, 40, 0.9f, 0.05f, 0xFFFFFFFFFFFFFFF0ull + static_cast<uint64_t>(id)};
    thought.provenance = {{"command", "branch"}, {"edits", {{{"group", 1}, {"value", 2.5}}}}};
}

}  // namespace

Folder::Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "savepoint-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw Error("no temporary folder");
    root_ = pattern;
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
}

const Transformer& model() {
    static const Transformer transformer(load());
    return transformer;
}

SessionIdentity identity() {
    SessionIdentity id{"toy", model().weights().sha256(), std::string(64, 'a'), std::string(64, 'b'), {}};
    id.model_config = model().config();
    return id;
}

std::vector<TokenId> prompt(int64_t tokens, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<TokenId> ids(tokens);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % kVocab);
    return ids;
}

ThoughtId add_prompt(ThoughtGraph& graph, LiveCache& live, const std::vector<TokenId>& tokens, int64_t chunk) {
    live.forget();
    const auto count = static_cast<int64_t>(tokens.size());
    ForwardOutput out = model().prefill_chunked(live.cache(), tokens, chunk);
    Thought thought;
    thought.tokens = tokens;
    thought.prompt_tokens = count;
    thought.rows = out.rows;
    thought.shape = {count, chunk, threads(), "cpu", "float32"};
    thought.complete = false;
    const ThoughtId id = graph.add(std::move(thought));
    live.advanced(id);
    return id;
}

at::Tensor generate(ThoughtGraph& graph, LiveCache& live, ThoughtId id, int64_t count) {
    live.rewind(id, graph.path_length(id));
    at::Tensor logits = live.next_logits(id, graph.path_length(id));
    std::vector<at::Tensor> all;
    for (int64_t i = 0; i < count; ++i) {
        const TokenId token = sample(logits, {.greedy = true}, graph.path_length(id));
        const ForwardOutput out = model().decode(live.cache(), token);
        graph.append(id, token, stats_of(logits, out.logits[0], token), out.rows);
        live.advanced(id);
        logits = out.logits[0].clone();
        all.push_back(logits);
    }
    return at::stack(all);
}

ThoughtId add_branch(ThoughtGraph& graph, ThoughtId parent, int64_t prefix, EdgeKind edge) {
    Thought thought;
    thought.parent = parent;
    thought.prefix = prefix;
    thought.edge = edge;
    thought.shape.threads = threads();
    thought.complete = false;
    return graph.add(std::move(thought));
}

ThoughtId add_intervention(ThoughtGraph& graph, LiveCache& live, ThoughtId parent, int64_t position) {
    const TokenId token = graph.path_tokens(parent)[position];
    RowEdit edit{position, 1, some({kDim}, 2.0f, 11), {}};
    edit.kv.push_back({0, some({kKvHeads, kHeadDim}, 1.0f, 12), some({kKvHeads, kHeadDim}, 1.0f, 13)});
    const ThoughtId id = add_branch(graph, parent, position, EdgeKind::intervention);
    graph.edit(id).edits.push_back(edit);
    const at::Tensor before = live.next_logits(parent, position);
    ForwardOptions options;
    options.edit = &edit;
    const ForwardOutput out = model().decode(live.rewind(parent, position), token, options);
    graph.append(id, token, stats_of(before, out.logits[0], token), out.rows);
    live.advanced(id);
    return id;
}

Story make_story() {
    Story story;
    ThoughtGraph& graph = story.contents.graph;
    LiveCache live(model(), graph);
    story.first = add_prompt(graph, live, prompt(40, 1), 16);
    story.first_logits = generate(graph, live, story.first, 24);
    story.branch = add_branch(graph, story.first, 50, EdgeKind::counterfactual);
    const ForwardOutput other = model().decode(live.rewind(story.first, 50), 5);
    graph.append(story.branch, 5, {-3.5f, 2.0f, {}}, other.rows);
    live.advanced(story.branch);
    story.branch_logits = generate(graph, live, story.branch, 20);
    story.edited = add_intervention(graph, live, story.first, 45);
    story.edited_logits = generate(graph, live, story.edited, 20);
    const ThoughtId second = add_prompt(graph, live, prompt(300, 2), 128);
    Thought merge;
    merge.parent = story.branch;
    merge.other_parent = second;
    merge.prefix = 60;
    merge.edge = EdgeKind::merge;
    story.merged = graph.add(merge);
    for (const auto& [id, thought] : graph.thoughts()) decorate(graph, id);
    for (const ThoughtId id : {story.first, story.branch, second}) graph.complete(id);
    story.contents.identity = identity();
    story.contents.current = story.edited;
    story.contents.view = {{"panels", {"graph", "latent"}}, {"zoom", 1.5}};
    return story;
}

at::Tensor decode_again(const ThoughtGraph& graph, LiveCache& live, ThoughtId id, int64_t from, int64_t count) {
    const std::vector<TokenId> tokens = graph.path_tokens(id);
    std::vector<at::Tensor> all = {live.next_logits(id, from)};
    KvCache& cache = live.rewind(id, from);
    for (int64_t i = 0; i < count; ++i) all.push_back(model().decode(cache, tokens[from + i]).logits[0].clone());
    live.forget();
    return at::stack(all);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    if (!a.defined() || !b.defined()) return a.defined() == b.defined();
    if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
    const at::Tensor x = a.contiguous(), y = b.contiguous();
    return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

namespace {

bool same_float(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

bool same_stats(const TokenStats& a, const TokenStats& b) {
    if (a.next.size() != b.next.size()) return false;
    for (size_t i = 0; i < a.next.size(); ++i)
        if (a.next[i].id != b.next[i].id || !same_float(a.next[i].probability, b.next[i].probability)) return false;
    return same_float(a.log_probability, b.log_probability) && same_float(a.entropy, b.entropy) &&
           same_float(a.anomaly, b.anomaly) && same_float(a.hidden_fvu, b.hidden_fvu);
}

bool same_edit(const RowEdit& a, const RowEdit& b) {
    if (a.position != b.position || a.hidden_block != b.hidden_block || a.kv.size() != b.kv.size()) return false;
    for (size_t i = 0; i < a.kv.size(); ++i)
        if (a.kv[i].block != b.kv[i].block || !same_bits(a.kv[i].key, b.kv[i].key) ||
            !same_bits(a.kv[i].value, b.kv[i].value))
            return false;
    return same_bits(a.hidden, b.hidden);
}

template <typename T, typename Same>
bool same_all(const std::vector<T>& a, const std::vector<T>& b, Same same) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}

std::string thought_difference(const Thought& a, const Thought& b) {
    if (a.id != b.id || a.parent != b.parent || a.other_parent != b.other_parent || a.prefix != b.prefix ||
        a.edge != b.edge)
        return "place";
    if (a.tokens != b.tokens || a.prompt_tokens != b.prompt_tokens) return "tokens";
    if (!same_all(a.stats, b.stats, same_stats)) return "stats";
    if (!same_bits(a.rows.key, b.rows.key)) return "key";
    if (!same_bits(a.rows.value, b.rows.value)) return "value";
    if (!same_bits(last_rows(a.rows), last_rows(b.rows))) return "last";
    if (!same_all(a.edits, b.edits, same_edit)) return "edits";
    if (a.provenance != b.provenance) return "provenance";
    if (!(a.sampler == b.sampler)) return "sampler";
    if (!(a.shape == b.shape)) return "shape";
    if (a.label != b.label || a.note != b.note || a.bookmarked != b.bookmarked || a.reward != b.reward ||
        a.complete != b.complete)
        return "remarks";
    return "";
}

}  // namespace

std::string difference(const SessionContents& a, const SessionContents& b) {
    const SessionIdentity &x = a.identity, &y = b.identity;
    if (x.model_name != y.model_name || x.model_sha256 != y.model_sha256 || x.tokenizer_hash != y.tokenizer_hash ||
        x.sidecar_hash != y.sidecar_hash || x.model_config != y.model_config)
        return "identity";
    if (a.current != b.current || a.view != b.view || a.graph.next_id() != b.graph.next_id()) return "session";
    if (a.graph.thoughts().size() != b.graph.thoughts().size()) return "number of thoughts";
    for (const auto& [id, thought] : a.graph.thoughts()) {
        const std::string found = thought_difference(thought, b.graph.at(id));
        if (!found.empty()) return "thought " + std::to_string(id) + ": " + found;
    }
    return "";
}

}  // namespace savepoint::toy
