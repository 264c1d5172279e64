#include "core/sidecar/codec_replay.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/run_planes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

namespace {

class Replay final : public RunCodec {
   public:
    Replay(const Transformer& model, std::vector<TokenId> before, CodedPart part, int64_t chunk)
        : model_(model), before_(std::move(before)), part_(part), chunk_(chunk) {}

    std::string kind() const override { return "replay"; }
    std::string name() const override { return part_ == CodedPart::kv ? "replay" : "replay " + to_string(part_); }
    CodedPart part() const override { return part_; }

    std::string encode(const CodedRun& run) const override {
        check_begin(run.first_position);
        checked_planes(run, shape_of(model_.config()), part_);
        return "";
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t first) const override {
        require_size(bytes, 0, name());
        check_begin(first);
        const auto count = static_cast<int64_t>(tokens.size());
        std::vector<TokenId> path = before_;
        path.insert(path.end(), tokens.begin(), tokens.end());
        return kept(path.empty() ? empty_rows() : run_model(path).slice(first, count));
    }

    void save(TensorFile&, nlohmann::json& settings) const override {
        settings = {{"kind", kind()}, {"chunk", chunk_}};
        save_part(part_, settings);
    }

   private:
    void check_begin(int64_t first) const {
        if (first != static_cast<int64_t>(before_.size()))
            throw InputError("replay: the run begins at token " + std::to_string(first) + ", but the ids of " +
                             std::to_string(before_.size()) + " tokens before it are known");
    }

    StateRows run_model(const std::vector<TokenId>& path) const {
        const auto tokens = static_cast<int64_t>(path.size());
        KvCache cache = model_.make_cache(tokens);
        ForwardOptions options;
        options.logits = Logits::none;
        return model_.prefill_chunked(cache, path, chunk_ == 0 ? tokens : chunk_, options).rows;
    }

    StateRows empty_rows() const {
        const StateShape shape = shape_of(model_.config());
        StateRows rows;
        rows.hidden = at::empty({0, shape.layers, shape.d_model});
        rows.key = rows.value = at::empty({0, shape.layers, shape.kv_heads, shape.head_dim});
        return rows;
    }

    StateRows kept(const StateRows& rows) const {
        StateRows part;
        if (part_ != CodedPart::hidden) {
            part.key = rows.key.contiguous();
            part.value = rows.value.contiguous();
        }
        if (part_ != CodedPart::kv) {
            part.hidden = rows.hidden.contiguous();
            part.last = part.hidden.select(1, part.hidden.size(1) - 1).contiguous();
        }
        return part;
    }

    const Transformer& model_;
    std::vector<TokenId> before_;
    CodedPart part_;
    int64_t chunk_;
};

}  // namespace

std::shared_ptr<const RunCodec> make_replay(const Transformer& model, std::vector<TokenId> before, CodedPart part,
                                            int64_t chunk) {
    if (chunk < 0) throw InputError("chunk: " + std::to_string(chunk) + "; 0 (all at once) or more tokens");
    return std::make_shared<Replay>(model, std::move(before), part, chunk);
}

std::shared_ptr<const RunCodec> load_replay(const TensorFile&, const nlohmann::json& settings, const std::string& name,
                                            const Transformer& model, std::vector<TokenId> before) {
    const Fields fields(settings, name, "");
    require_kind(fields, "replay");
    return make_replay(model, std::move(before), load_part(fields), fields.integer("chunk", 0, 1 << 30));
}

}  // namespace savepoint
