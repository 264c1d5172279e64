#include "core/sidecar/codec_delta.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"

namespace savepoint {

namespace {

// What a codec of this kind is fitted to: rows are keys and values of a layer side by side, [2 kv_dim].
struct Similarity {
    at::Tensor mean;        // [layers, 2 kv_dim]
    at::Tensor projection;  // [layers, axes, 2 kv_dim], the scale of keys and values included

    at::Tensor of(const at::Tensor& row) const {  // [layers, 2 kv_dim] -> [layers, axes]
        return at::bmm(projection, (row - mean).unsqueeze(2)).squeeze(2);
    }
};

// The decoded rows of a run so far, in front of them the fitted mean.
class Past {
   public:
    Past(const Similarity& similarity, int64_t tokens, const DeltaSettings& settings)
        : similarity_(similarity), settings_(settings) {
        const at::Tensor& mean = similarity.mean;
        rows_ = at::empty({mean.size(0), tokens + 1, mean.size(1)});
        seen_ = at::zeros({mean.size(0), tokens + 1, similarity.projection.size(1)});
        rows_.select(1, 0).copy_(mean);
    }

    // int64 [layers, references]: how far back, 0 is the fitted mean.
    at::Tensor most_similar(const at::Tensor& row) const {
        const int64_t reach = std::min(done_, settings_.history);
        const at::Tensor here = similarity_.of(row).unsqueeze(1);
        // Candidate 0 is the mean (whose projection is 0), candidate i the token i back.
        const at::Tensor recent = seen_.narrow(1, 1 + done_ - reach, reach).flip(1);
        const at::Tensor distance = (at::cat({seen_.narrow(1, 0, 1), recent}, 1) - here).square().sum(2);
        const int64_t count = std::min(settings_.references, reach + 1);
        const at::Tensor chosen = std::get<1>(distance.topk(count, 1, /*largest=*/false));
        return at::constant_pad_nd(chosen, {0, settings_.references - count});
    }

    // [layers, 2 kv_dim]
    at::Tensor reference(const at::Tensor& back) const {
        const at::Tensor place = at::where(at::eq(back, 0), back, done_ + 1 - back);
        return rows_.gather(1, place.unsqueeze(2).expand({-1, -1, rows_.size(2)})).mean(1);
    }

    void append(const at::Tensor& row) {
        ++done_;
        rows_.select(1, done_).copy_(row);
        seen_.select(1, done_).copy_(similarity_.of(row));
    }

    int64_t done() const { return done_; }
    at::Tensor decoded() const { return rows_.slice(1, 1).transpose(0, 1); }  // [tokens, layers, 2 kv_dim]

   private:
    const Similarity& similarity_;
    const DeltaSettings& settings_;
    at::Tensor rows_, seen_;  // [layers, 1 + tokens, ..]
    int64_t done_ = 0;
};

class DeltaRun final : public RunCodec {
   public:
    DeltaRun(const StateShape& shape, const DeltaSettings& settings, ValueFormat format, Similarity similarity)
        : shape_(shape), settings_(settings), format_(format), similarity_(std::move(similarity)) {}

    std::string kind() const override { return "delta"; }
    std::string name() const override {
        return "delta k" + std::to_string(settings_.references) + " back" + std::to_string(settings_.history) + " " +
               to_string(format_);
    }
    CodedPart part() const override { return CodedPart::kv; }

    std::string encode(const CodedRun& run) const override {
        const at::Tensor rows = at::cat(checked_planes(run, shape_, part()), 2);
        Past past(similarity_, rows.size(0), settings_);
        std::vector<at::Tensor> back = {at::empty({0, settings_.references}, at::kLong)};
        std::vector<at::Tensor> residuals = {at::empty({0, width()})};
        for (int64_t t = 0; t < rows.size(0); ++t) {
            back.push_back(past.most_similar(rows[t]));
            const at::Tensor reference = past.reference(back.back());
            residuals.push_back(rows[t] - reference);
            past.append(reference + rounded(residuals.back(), format_));
        }
        std::string bytes;
        store_indices(bytes, at::cat(back));
        store(bytes, at::cat(residuals), format_);
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto count = static_cast<int64_t>(tokens.size());
        const int64_t rows = count * shape_.layers;
        require_size(bytes, rows * settings_.references * index_bytes() + stored_bytes(rows, width(), format_), name());
        ByteReader reader(bytes, name());
        const at::Tensor back = restore_indices(reader, count);
        const at::Tensor residuals = restore(reader, rows, width(), format_).view({count, shape_.layers, width()});
        Past past(similarity_, count, settings_);
        for (int64_t t = 0; t < count; ++t) past.append(past.reference(back[t]) + residuals[t]);
        const at::Tensor decoded = past.decoded();
        return rows_from({decoded.slice(2, 0, shape_.kv_dim()), decoded.slice(2, shape_.kv_dim())}, shape_, part());
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()}, {"references", settings_.references}, {"history", settings_.history}};
        save_shape(shape_, settings);
        save_format(format_, settings);
        file.tensors["mean"] = similarity_.mean;
        file.tensors["projection"] = similarity_.projection;
    }

   private:
    int64_t width() const { return 2 * shape_.kv_dim(); }
    int64_t index_bytes() const { return settings_.history > 255 ? 2 : 1; }

    void store_indices(std::string& bytes, const at::Tensor& back) const {
        const at::Tensor flat = back.contiguous();
        const int64_t* from = flat.const_data_ptr<int64_t>();
        for (int64_t i = 0; i < flat.numel(); ++i)
            for (int64_t b = 0; b < index_bytes(); ++b) bytes.push_back(static_cast<char>(from[i] >> (8 * b)));
    }

    // [tokens, layers, references]; throws InputError where one lies before the run.
    at::Tensor restore_indices(ByteReader& reader, int64_t tokens) const {
        at::Tensor back = at::zeros({tokens, shape_.layers, settings_.references}, at::kLong);
        int64_t* to = back.data_ptr<int64_t>();
        for (int64_t i = 0; i < back.numel(); ++i)
            for (int64_t b = 0; b < index_bytes(); ++b)
                to[i] |= static_cast<int64_t>(reader.number<uint8_t>()) << (8 * b);
        const at::Tensor most = at::arange(tokens, at::kLong).clamp_max(settings_.history).view({-1, 1, 1});
        if (at::gt(back, most).any().item<bool>()) throw InputError(name() + ": a reference lies before the run");
        return back;
    }

    StateShape shape_;
    DeltaSettings settings_;
    ValueFormat format_;
    Similarity similarity_;
};

class DeltaFit final : public RunCodecFit {
   public:
    DeltaFit(const StateShape& shape, DeltaSettings settings) : shape_(shape), settings_(std::move(settings)) {}

    void add(const CodedRun& run) override { moments_.add(at::cat(checked_planes(run, shape_, CodedPart::kv), 2)); }

    std::vector<std::shared_ptr<const RunCodec>> finish() override {
        if (moments_.tokens() == 0) throw InputError("fit: no tokens were added");
        const Similarity similarity = fitted();
        std::vector<std::shared_ptr<const RunCodec>> codecs;
        for (const ValueFormat& format : settings_.formats)
            codecs.push_back(std::make_shared<DeltaRun>(shape_, settings_, format, similarity));
        return codecs;
    }

   private:
    Similarity fitted() const {
        const at::Tensor covariance = moments_.covariance();
        const at::Tensor variance = covariance.diagonal(0, 1, 2).reshape({shape_.layers, 2, -1}).mean(2).clamp_min(0);
        const at::Tensor deviation = at::where(at::gt(variance, 0), variance, at::ones_like(variance)).sqrt();
        const at::Tensor scale = deviation.repeat_interleave(shape_.kv_dim(), 1);
        const EigenBases axes = leading_components_of_each(covariance / scale.unsqueeze(2) / scale.unsqueeze(1),
                                                           std::min(settings_.projection, 2 * shape_.kv_dim()));
        return {moments_.mean().to(at::kFloat), (axes.vectors / scale.unsqueeze(1)).to(at::kFloat).contiguous()};
    }

    StateShape shape_;
    DeltaSettings settings_;
    PlaneMoments moments_;
};

constexpr int64_t kMostHistory = std::numeric_limits<uint16_t>::max(), kMostReferences = 64;

void check(const DeltaSettings& settings) {
    const auto refuse = [](const char* field, int64_t value, int64_t most) {
        throw InputError(std::string(field) + ": " + std::to_string(value) + "; 1 to " + std::to_string(most));
    };
    check_formats(settings.formats);
    if (settings.references < 1 || settings.references > kMostReferences)
        refuse("references", settings.references, kMostReferences);
    if (settings.history < 1 || settings.history > kMostHistory) refuse("history", settings.history, kMostHistory);
    if (settings.projection < 1) refuse("projection", settings.projection, std::numeric_limits<int32_t>::max());
}

}  // namespace

std::unique_ptr<RunCodecFit> make_delta_fit(const ModelConfig& config, const DeltaSettings& settings) {
    check(settings);
    return std::make_unique<DeltaFit>(shape_of(config), settings);
}

std::shared_ptr<const RunCodec> load_delta(const TensorFile& file, const nlohmann::json& settings,
                                           const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "delta");
    const StateShape shape = load_shape(fields);
    const int64_t width = 2 * shape.kv_dim();
    const TensorFields tensors(file, settings, "", name);
    Similarity similarity{tensors.tensor("mean", {shape.layers, width}),
                          tensors.tensor("projection", {shape.layers, -1, width})};
    DeltaSettings read;
    read.references = fields.integer("references", 1, kMostReferences);
    read.history = fields.integer("history", 1, kMostHistory);
    return std::make_shared<DeltaRun>(shape, read, load_format(fields), std::move(similarity));
}

}  // namespace savepoint
