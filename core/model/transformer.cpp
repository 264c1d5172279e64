#include "core/model/transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/model/decoder.h"
#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/model/torch_pass.h"

namespace savepoint {

namespace {

at::Tensor ids_tensor(std::span<const TokenId> tokens) {
    at::Tensor ids = at::empty({static_cast<int64_t>(tokens.size())}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), ids.data_ptr<int64_t>());
    return ids;
}

at::Tensor to_cpu_float(const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat).contiguous(); }

StateRows empty_rows(const ModelConfig& c, int64_t tokens) {
    return {at::empty({tokens, c.layers, c.d_model}, at::kFloat),
            at::empty({tokens, c.layers, c.kv_heads, c.head_dim}, at::kFloat),
            at::empty({tokens, c.layers, c.kv_heads, c.head_dim}, at::kFloat),
            {}};
}

at::Tensor empty_queries(const ModelConfig& c, int64_t tokens) {
    return at::empty({tokens, c.layers, c.heads, c.head_dim}, at::kFloat);
}

// A copy and not a view, which would keep all of `hidden` alive.
void keep_last(StateRows& rows, const ModelConfig& c) { rows.last = rows.hidden.select(1, c.layers - 1).clone(); }

void require_elements(const at::Tensor& tensor, int64_t elements, const std::string& field) {
    if (!tensor.defined() || tensor.numel() != elements)
        throw InputError(field + ": " + std::to_string(elements) + " numbers are needed");
}

void check_edit(const ModelConfig& c, const RowEdit& edit, int64_t first, int64_t tokens) {
    if (edit.position < first || edit.position >= first + tokens)
        throw InputError("edit: position " + std::to_string(edit.position) + " is not among the tokens of this step");
    if (edit.hidden_block >= c.layers)
        throw InputError("edit: hidden_block " + std::to_string(edit.hidden_block) + " is beyond the last block");
    if (edit.hidden_block >= 0) require_elements(edit.hidden, c.d_model, "edit: hidden");
    for (const KvRow& row : edit.kv) {
        if (row.block < 0 || row.block >= c.layers)
            throw InputError("edit: kv block " + std::to_string(row.block) + " does not exist");
        require_elements(row.key, c.kv_dim(), "edit: key");
        require_elements(row.value, c.kv_dim(), "edit: value");
    }
}

}  // namespace

// An edit's rows as the decoder reads them: contiguous float32 on the CPU.
struct HeldEdit {
    std::vector<at::Tensor> tensors;
    const float* hold(const at::Tensor& tensor) {
        tensors.push_back(to_cpu_float(tensor));
        return tensors.back().data_ptr<float>();
    }
    void apply(const RowEdit& edit, int64_t layers, DecodeStep& step) {
        if (!edit.kv.empty()) {
            step.edit_keys.assign(layers, nullptr);
            step.edit_values.assign(layers, nullptr);
        }
        for (const KvRow& row : edit.kv) {
            step.edit_keys[row.block] = hold(row.key);
            step.edit_values[row.block] = hold(row.value);
        }
        step.hidden_block = edit.hidden_block;
        if (edit.hidden_block >= 0) step.edit_hidden = hold(edit.hidden);
    }
};

struct Transformer::Impl {
    Impl(std::shared_ptr<const Weights> weights_in, c10::Device device_in)
        : weights(std::move(weights_in)),
          config(weights->config()),
          device(device_in),
          rotary(config),
          torch(weights, rotary, device) {
        if (device.is_cpu() && Decoder::supports(config))
            decoder = std::make_unique<Decoder>(weights, rotary, threads());
    }

    void check_tokens(std::span<const TokenId> tokens, int64_t past) const {
        if (tokens.empty()) throw InputError("tokens: there are none");
        const auto count = static_cast<int64_t>(tokens.size());
        if (past + count > config.context)
            throw InputError("tokens: " + std::to_string(past + count) + " exceed the model's context of " +
                             std::to_string(config.context));
        for (const TokenId id : tokens)
            if (id < 0 || id >= config.vocab)
                throw InputError("tokens: id " + std::to_string(id) + " is not in the vocabulary of " +
                                 std::to_string(config.vocab));
    }

    // [batch, tokens] ids of sequences of one length, checked.
    at::Tensor batch_of(const std::vector<std::vector<TokenId>>& sequences, int64_t past) const {
        std::vector<at::Tensor> ids;
        for (const auto& sequence : sequences) {
            check_tokens(sequence, past);
            if (sequence.size() != sequences.front().size())
                throw InputError("sequences: all must have the same length");
            ids.push_back(ids_tensor(sequence));
        }
        if (ids.empty()) throw InputError("sequences: there are none");
        return at::stack(ids);
    }

    // resid [n, d_model], on the device -> [n, vocab] on the CPU. `hooks` see ln_final.
    at::Tensor logits_of(const at::Tensor& resid, const Hooks* hooks = nullptr) {
        if (decoder && !(hooks && hooks->wants("ln_final.hook_normalized"))) {
            const at::Tensor rows = to_cpu_float(resid);
            at::Tensor logits = at::empty({rows.size(0), config.vocab}, at::kFloat);
            decoder->head(rows.data_ptr<float>(), rows.size(0), logits.data_ptr<float>());
            return logits;
        }
        at::Tensor normed = torch.final_norm(resid);
        if (hooks) normed = hooks->run("ln_final.hook_normalized", normed.unsqueeze(0)).squeeze(0);
        return to_cpu_float(torch.head(normed));
    }

    at::Tensor wanted_logits(const at::Tensor& resid, const ForwardOptions& options) {
        if (options.logits == Logits::none) return {};
        const at::Tensor rows = resid.reshape({-1, config.d_model});
        return logits_of(options.logits == Logits::all ? rows : rows.narrow(0, rows.size(0) - 1, 1), options.hooks);
    }

    ForwardOutput torch_forward(TorchPass pass, const ForwardOptions& options, StateRows rows) {
        pass.hooks = options.hooks && !options.hooks->empty() ? options.hooks : nullptr;
        if (pass.hooks) pass.hooks->check_names(config.layers);
        if (options.capture && !rows.tokens()) rows = empty_rows(config, pass.resid.size(0) * pass.resid.size(1));
        pass.rows = options.capture ? &rows : nullptr;
        const int64_t tokens = pass.resid.size(1);
        const at::Tensor resid = torch.run(pass);
        if (options.capture) keep_last(rows, config);
        ForwardOutput output{wanted_logits(resid, options), options.capture ? rows : StateRows{}, pass.query};
        if (pass.cache) pass.cache->set_length(pass.past + tokens);
        return output;
    }

    ForwardOutput own_decode(KvCache& cache, const at::Tensor& resid, int64_t first_block, const RowEdit* edit,
                             StateRows rows, const ForwardOptions& options) {
        DecodeStep step;
        step.position = cache.length();
        step.first_block = first_block;
        step.resid = resid.data_ptr<float>();
        step.hidden = rows.hidden.data_ptr<float>();
        step.key = rows.key.data_ptr<float>();
        step.value = rows.value.data_ptr<float>();
        step.capacity = cache.capacity();
        for (int64_t layer = 0; layer < config.layers; ++layer) {
            step.cache_keys.push_back(cache.keys(layer).data_ptr<float>());
            step.cache_values.push_back(cache.values(layer).data_ptr<float>());
        }
        HeldEdit held;
        if (edit) held.apply(*edit, config.layers, step);
        ForwardOutput output;
        if (options.queries && first_block == 0) {
            output.query = empty_queries(config, 1);
            step.query = output.query.data_ptr<float>();
        }
        if (options.logits != Logits::none) output.logits = at::empty({1, config.vocab}, at::kFloat);
        step.logits = output.logits.defined() ? output.logits.data_ptr<float>() : nullptr;
        decoder->step(step);
        cache.set_length(step.position + 1);
        if (options.capture) {
            keep_last(rows, config);
            output.rows = std::move(rows);
        }
        return output;
    }

    // Straight from the rows into the cache: a restore is what a click on a thought waits for. Some tokens
    // at a time, so that the rows are read in the order in which they lie.
    void restore_on_cpu(KvCache& cache, const StateRows& rows, int64_t blocks) {
        constexpr int64_t kPart = 64;
        const int64_t past = cache.length(), tokens = rows.tokens();
        const at::Tensor keys = to_cpu_float(rows.key), values = to_cpu_float(rows.value);
        rotary.reserve(past + tokens);
        std::vector<float*> key_rows, value_rows;
        for (int64_t layer = 0; layer < blocks; ++layer) {
            key_rows.push_back(cache.keys(layer).data_ptr<float>());
            value_rows.push_back(cache.values(layer).data_ptr<float>());
        }
        const int64_t d = config.head_dim, row = config.layers * config.kv_dim();
        const auto place = [&](int64_t token) {
            for (int64_t i = 0; i < blocks * config.kv_heads; ++i) {
                const int64_t layer = i / config.kv_heads, head = i % config.kv_heads;
                const int64_t from = token * row + i * d, to = (head * cache.capacity() + past + token) * d;
                const RotaryTable& table = rotary.of(layer);
                rotate_head(keys.data_ptr<float>() + from, table.cosines(past + token), table.sines(past + token), d,
                            key_rows[layer] + to);
                std::memcpy(value_rows[layer] + to, values.data_ptr<float>() + from, d * sizeof(float));
            }
        };
        const auto part = [&](int64_t index) {
            for (int64_t token = index * kPart; token < std::min(tokens, (index + 1) * kPart); ++token) place(token);
        };
        if (tokens <= kPart)
            part(0);
        else
            parallel_tasks((tokens + kPart - 1) / kPart, part);
    }

    // The row that a step without capture computes into: kept, so that nothing is allocated per token.
    StateRows& scratch_rows() {
        if (!scratch.has_hidden()) scratch = empty_rows(config, 1);
        return scratch;
    }

    StateRows one_row(const ForwardOptions& options) {
        return options.capture ? empty_rows(config, 1) : scratch_rows();
    }

    bool runs_own(const ForwardOptions& options) const {
        return decoder && !(options.hooks && !options.hooks->empty());
    }

    std::shared_ptr<const Weights> weights;
    const ModelConfig& config;
    c10::Device device;
    Rotary rotary;
    TorchModel torch;
    std::unique_ptr<Decoder> decoder;
    StateRows scratch;
};

Transformer::Transformer(std::shared_ptr<const Weights> weights, c10::Device device)
    : impl_(std::make_unique<Impl>(std::move(weights), device)) {}
Transformer::~Transformer() = default;

const ModelConfig& Transformer::config() const { return impl_->config; }
const Weights& Transformer::weights() const { return *impl_->weights; }
std::shared_ptr<const Weights> Transformer::shared_weights() const { return impl_->weights; }
c10::Device Transformer::device() const { return impl_->device; }

std::string Transformer::precision() const {
    std::set<std::string> streamed;
    for (const char* role : {"blocks.0.q", "blocks.0.down", "embed", "head"})
        if (const PackedMatrix* packed = weights().packed(role))
            streamed.insert(ggml_type_name(static_cast<ggml_type>(packed->type)));
    if (!impl_->decoder || streamed.empty()) return "float32";
    std::string types;
    for (const std::string& type : streamed) types += (types.empty() ? "" : " and ") + type;
    return "float32 (weights streamed as " + types + ")";
}

KvCache Transformer::make_cache(int64_t capacity) const { return KvCache(config(), capacity, device()); }

ForwardOutput Transformer::prefill(KvCache& cache, std::span<const TokenId> tokens,
                                   const ForwardOptions& options) const {
    const at::NoGradGuard no_grad;
    const int64_t past = cache.length();
    impl_->check_tokens(tokens, past);
    if (options.edit) check_edit(config(), *options.edit, past, static_cast<int64_t>(tokens.size()));
    cache.reserve(past + static_cast<int64_t>(tokens.size()));
    TorchPass pass{impl_->torch.embed(ids_tensor(tokens)).unsqueeze(0), 0, past, &cache};
    pass.edit = options.edit;
    if (options.queries) pass.query = empty_queries(config(), static_cast<int64_t>(tokens.size()));
    return impl_->torch_forward(pass, options, {});
}

ForwardOutput Transformer::prefill_chunked(KvCache& cache, std::span<const TokenId> tokens, int64_t chunk,
                                           const ForwardOptions& options,
                                           const std::function<bool(int64_t)>& keep_going) const {
    if (chunk < 1) throw InputError("chunk: must be at least 1");
    const int64_t start = cache.length(), count = static_cast<int64_t>(tokens.size());
    impl_->check_tokens(tokens, start);
    cache.reserve(start + count);
    std::vector<StateRows> rows;
    std::vector<at::Tensor> logits, queries;
    for (int64_t from = 0; from < count; from += chunk) {
        if (keep_going && !keep_going(from)) {
            cache.truncate(start);
            throw Cancelled();
        }
        const int64_t size = std::min(chunk, count - from);
        ForwardOptions part = options;
        const bool is_last = from + size == count;
        if (options.logits == Logits::last && !is_last) part.logits = Logits::none;
        if (options.edit && (options.edit->position < start + from || options.edit->position >= start + from + size))
            part.edit = nullptr;
        ForwardOutput output = prefill(cache, tokens.subspan(from, size), part);
        if (output.logits.defined()) logits.push_back(output.logits);
        if (output.query.defined()) queries.push_back(output.query);
        rows.push_back(std::move(output.rows));
    }
    const auto joined = [](const std::vector<at::Tensor>& parts) {
        return parts.empty() ? at::Tensor() : at::cat(parts);
    };
    return {joined(logits), concat(rows), joined(queries)};
}

ForwardOutput Transformer::decode(KvCache& cache, TokenId token, const ForwardOptions& options) const {
    const at::NoGradGuard no_grad;
    const std::span<const TokenId> tokens(&token, 1);
    if (!impl_->runs_own(options)) return prefill(cache, tokens, options);
    impl_->check_tokens(tokens, cache.length());
    if (options.edit) check_edit(config(), *options.edit, cache.length(), 1);
    cache.reserve(cache.length() + 1);
    const at::Tensor resid = impl_->torch.embed(ids_tensor(tokens));
    return impl_->own_decode(cache, resid, 0, options.edit, impl_->one_row(options), options);
}

ForwardOutput Transformer::decode_from_saved(KvCache& cache, TokenId token, const StateRows& saved, const RowEdit& edit,
                                             const ForwardOptions& options) const {
    const at::NoGradGuard no_grad;
    const int64_t past = cache.length(), first = std::min(edit.first_affected_block(), config().layers);
    impl_->check_tokens(std::span<const TokenId>(&token, 1), past);
    check_edit(config(), edit, past, 1);
    if (saved.tokens() != 1 || !saved.has_kv() || (first > 0 && !saved.has_hidden()))
        throw InputError("saved: one row with hidden, key and value is needed");
    cache.reserve(past + 1);
    StateRows rows = impl_->one_row(options);
    if (first > 0) rows.hidden.narrow(1, 0, first).copy_(saved.hidden.narrow(1, 0, first));
    rows.key.narrow(1, 0, first).copy_(saved.key.narrow(1, 0, first));
    rows.value.narrow(1, 0, first).copy_(saved.value.narrow(1, 0, first));
    if (edit.hidden_block >= 0 && edit.hidden_block == first - 1)
        rows.hidden.select(1, first - 1).copy_(edit.hidden.reshape({1, -1}));
    restore_blocks(cache, rows, first);
    const at::Tensor resid =
        first > 0 ? rows.hidden[0][first - 1] : impl_->torch.embed(ids_tensor(std::span<const TokenId>(&token, 1)));
    if (impl_->runs_own(options)) return impl_->own_decode(cache, resid, first, &edit, rows, options);
    TorchPass pass{resid.reshape({1, 1, -1}).to(device()), first, past, &cache};
    pass.edit = &edit;
    return impl_->torch_forward(pass, options, rows);
}

ForwardOutput Transformer::decode_batch(KvCache& cache, std::span<const TokenId> tokens,
                                        const ForwardOptions& options) const {
    const at::NoGradGuard no_grad;
    if (static_cast<int64_t>(tokens.size()) != cache.batch())
        throw InputError("tokens: one for each of the cache's " + std::to_string(cache.batch()) + " rows is needed");
    for (const TokenId& token : tokens) impl_->check_tokens(std::span<const TokenId>(&token, 1), cache.length());
    cache.reserve(cache.length() + 1);
    ForwardOptions batch = options;
    batch.capture = false;
    if (batch.logits == Logits::last) batch.logits = Logits::all;
    return impl_->torch_forward({impl_->torch.embed(ids_tensor(tokens)).unsqueeze(1), 0, cache.length(), &cache}, batch,
                                {});
}

ForwardOutput Transformer::forward_batch(const std::vector<std::vector<TokenId>>& sequences,
                                         const ForwardOptions& options) const {
    const at::NoGradGuard no_grad;
    return impl_->torch_forward({impl_->torch.embed(impl_->batch_of(sequences, 0))}, options, {});
}

at::Tensor Transformer::logits_after(const at::Tensor& key, const at::Tensor& value,
                                     const std::vector<std::vector<TokenId>>& tokens, bool checkpointing) const {
    const auto batch = static_cast<int64_t>(tokens.size());
    const ModelConfig& c = config();
    if (!key.defined() || key.dim() != 5 || key.sizes() != value.sizes() || key.size(0) != batch ||
        key.size(2) != c.layers || key.size(3) != c.kv_heads || key.size(4) != c.head_dim)
        throw InputError("key, value: [batch, past, layers, kv_heads, head_dim] of this model are needed");
    TorchPass pass{impl_->torch.embed(impl_->batch_of(tokens, key.size(1)))};
    pass.past = key.size(1);
    pass.prefix_key = key.to(device());
    pass.prefix_value = value.to(device());
    pass.checkpointing = checkpointing;
    return impl_->torch.head(impl_->torch.final_norm(impl_->torch.run(pass)));
}

at::Tensor Transformer::embed(std::span<const TokenId> tokens) const {
    const at::NoGradGuard no_grad;
    impl_->check_tokens(tokens, 0);
    return impl_->torch.embed(ids_tensor(tokens));
}

at::Tensor Transformer::run_blocks(const at::Tensor& resid, int64_t first_block, const StateRows& past,
                                   const Hooks* hooks) const {
    const at::NoGradGuard no_grad;
    const ModelConfig& c = config();
    if (!resid.defined() || resid.dim() != 3 || resid.size(2) != c.d_model)
        throw InputError("resid: [batch, tokens, d_model] of this model is needed");
    if (first_block < 0 || first_block >= c.layers) throw InputError("first_block: the model has no such block");
    const int64_t before = past.tokens();
    if (before + resid.size(1) > c.context)
        throw InputError("resid: it exceeds the model's context of " + std::to_string(c.context));
    if (hooks) hooks->check_names(c.layers);
    TorchPass pass{resid.to(device()), first_block, before};
    pass.hooks = hooks && !hooks->empty() ? hooks : nullptr;
    if (before > 0) {
        if (!past.has_kv()) throw InputError("past: key and value are needed");
        require_elements(past.key, before * c.layers * c.kv_dim(), "past: key");
        require_elements(past.value, before * c.layers * c.kv_dim(), "past: value");
        const std::vector<int64_t> shape{resid.size(0), before, c.layers, c.kv_heads, c.head_dim};
        pass.prefix_key = past.key.to(device()).unsqueeze(0).expand(shape);
        pass.prefix_value = past.value.to(device()).unsqueeze(0).expand(shape);
    }
    return impl_->torch.run(pass);
}

void Transformer::restore_blocks(KvCache& cache, const StateRows& rows, int64_t blocks) const {
    const int64_t past = cache.length(), tokens = rows.tokens();
    if (device().is_cpu() && cache.batch() == 1) {
        impl_->restore_on_cpu(cache, rows, blocks);
        return;
    }
    for (int64_t layer = 0; layer < blocks; ++layer) {
        const at::Tensor key = rows.key.select(1, layer).transpose(0, 1).unsqueeze(0).to(device());
        const at::Tensor value = rows.value.select(1, layer).transpose(0, 1).unsqueeze(0);
        cache.keys(layer).narrow(2, past, tokens).copy_(impl_->rotary.of(layer).rotate(key, past));
        cache.values(layer).narrow(2, past, tokens).copy_(value);
    }
}

void Transformer::restore(KvCache& cache, const StateRows& rows) const {
    const at::NoGradGuard no_grad;
    if (!rows.has_kv()) throw InputError("rows: key and value are needed to restore a state");
    const int64_t tokens = rows.tokens();
    require_elements(rows.key, tokens * config().layers * config().kv_dim(), "rows: key");
    require_elements(rows.value, tokens * config().layers * config().kv_dim(), "rows: value");
    if (cache.length() + tokens > config().context)
        throw InputError("rows: they exceed the model's context of " + std::to_string(config().context));
    cache.reserve(cache.length() + tokens);
    restore_blocks(cache, rows, config().layers);
    cache.set_length(cache.length() + tokens);
}

at::Tensor Transformer::queries(const StateRows& rows, std::span<const TokenId> tokens) const {
    const at::NoGradGuard no_grad;
    impl_->check_tokens(tokens, 0);
    if (!rows.has_hidden() || rows.tokens() != static_cast<int64_t>(tokens.size()))
        throw InputError("rows: the hidden rows of these tokens are needed");
    std::vector<at::Tensor> layers;
    at::Tensor resid = impl_->torch.embed(ids_tensor(tokens));
    for (int64_t layer = 0; layer < config().layers; ++layer) {
        layers.push_back(to_cpu_float(impl_->torch.query(resid, layer)));
        resid = rows.hidden.select(1, layer).to(device());
    }
    return at::stack(layers, 1);
}

at::Tensor Transformer::rotate(const at::Tensor& rows, int64_t first_position) const {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> layers;
    for (int64_t layer = 0; layer < rows.size(1); ++layer)
        layers.push_back(
            impl_->rotary.of(layer).rotate(rows.select(1, layer).transpose(0, 1).unsqueeze(0), first_position));
    return at::cat(layers).permute({2, 0, 1, 3}).contiguous();
}

at::Tensor Transformer::unembed(const at::Tensor& resid) const {
    const at::NoGradGuard no_grad;
    std::vector<int64_t> shape = resid.sizes().vec();
    shape.back() = config().vocab;
    return impl_->logits_of(resid.reshape({-1, config().d_model}).to(device())).reshape(shape);
}

}  // namespace savepoint
