#include "core/sidecar/codec_oja.h"

#include <ATen/ATen.h>

#include "core/model/error.h"

namespace savepoint {

namespace {

// Neighbouring tokens of a run that are all kept whole, or all coded.
struct Stretch {
    int64_t first = 0, count = 0;
    bool whole = false;
};

bool kept_whole(int64_t token, int64_t tokens, const OjaSettings& settings) {
    return token < settings.first || token >= tokens - settings.recent ||
           (settings.every > 0 && token % settings.every == 0);
}

std::vector<Stretch> stretches_of(int64_t tokens, const OjaSettings& settings) {
    std::vector<Stretch> stretches;
    for (int64_t t = 0; t < tokens; ++t) {
        const bool whole = kept_whole(t, tokens, settings);
        if (stretches.empty() || stretches.back().whole != whole) stretches.push_back({t, 0, whole});
        ++stretches.back().count;
    }
    return stretches;
}

int64_t count_of(const std::vector<Stretch>& stretches, bool whole) {
    int64_t count = 0;
    for (const Stretch& stretch : stretches)
        if (stretch.whole == whole) count += stretch.count;
    return count;
}

// One step of the rule for a row of every layer. The orthonormal basis nearest to B + step y r^T has a closed form,
// as r is outside of the span of B: with k = 1 / sqrt(1 + step^2 |y|^2 |r|^2) - 1 it is B + y a^T,
// a = step (1 + k) r + k / |y|^2 (x - r).
at::Tensor followed(const at::Tensor& basis, const at::Tensor& x, const at::Tensor& step) {
    const at::Tensor y = at::bmm(basis, x.unsqueeze(2));
    const at::Tensor r = x - at::bmm(basis.transpose(1, 2), y).squeeze(2);
    const at::Tensor y_square = y.square().sum(1), r_square = r.square().sum(1, /*keepdim=*/true);
    const at::Tensor k = (step.square() * y_square * r_square + 1).rsqrt() - 1;
    const at::Tensor a = step * (k + 1) * r + k / y_square.clamp_min(1e-30) * (x - r);
    return at::baddbmm(basis, y, a.unsqueeze(1));
}

// rows: what the decoder knows of tokens kept whole, [tokens, layers, width].
void follow(PlaneAxes& axes, const at::Tensor& rows, double rate) {
    if (rate == 0) return;
    const at::Tensor step = (rate / axes.total.clamp_min(1e-20)).unsqueeze(1);
    for (int64_t t = 0; t < rows.size(0); ++t) axes.basis = followed(axes.basis, rows[t] - axes.mean, step);
}

at::Tensor in_half(const at::Tensor& rows) {
    return rounded(rows.reshape({rows.size(0), -1}), ValueFormat{}).view(rows.sizes());
}

class OjaRun final : public RunCodec {
   public:
    OjaRun(const StateShape& shape, int64_t reduction, ValueFormat format, const OjaSettings& settings,
           std::vector<PlaneAxes> axes)
        : shape_(shape), reduction_(reduction), format_(format), settings_(settings), axes_(std::move(axes)) {}

    std::string kind() const override { return "oja"; }
    std::string name() const override {
        return "oja 1/" + std::to_string(reduction_) + " " + to_string(format_) + " first" +
               std::to_string(settings_.first) + " recent" + std::to_string(settings_.recent) + " every" +
               std::to_string(settings_.every) + " rate" + nlohmann::json(settings_.rate).dump();
    }
    CodedPart part() const override { return CodedPart::kv; }

    std::string encode(const CodedRun& run) const override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, part());
        std::string bytes;
        for (size_t p = 0; p < planes.size(); ++p) encode_plane(bytes, planes[p], axes_[p]);
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto stretches = stretches_of(static_cast<int64_t>(tokens.size()), settings_);
        require_size(bytes, bytes_of(stretches), name());
        ByteReader reader(bytes, name());
        std::vector<at::Tensor> planes;
        for (const PlaneAxes& axes : axes_) planes.push_back(decode_plane(reader, stretches, axes));
        return rows_from(planes, shape_, part());
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()},           {"reduction", reduction_},
                    {"first", settings_.first}, {"recent", settings_.recent},
                    {"every", settings_.every}, {"rate", settings_.rate}};
        save_shape(shape_, settings);
        save_format(format_, settings);
        for (size_t p = 0; p < axes_.size(); ++p) save_axes(axes_[p], planes_of(part())[p], file);
    }

   private:
    void encode_plane(std::string& bytes, const at::Tensor& rows, PlaneAxes axes) const {
        std::vector<at::Tensor> whole = {rows.slice(0, 0, 0)};
        std::vector<at::Tensor> z = {at::empty({0, shape_.layers, axes.components()})};
        for (const Stretch& stretch : stretches_of(rows.size(0), settings_)) {
            const at::Tensor part = rows.narrow(0, stretch.first, stretch.count);
            (stretch.whole ? whole : z).push_back(stretch.whole ? part : axes.project(part));
            if (stretch.whole) follow(axes, in_half(part), settings_.rate);
        }
        store(bytes, at::cat(whole).view({-1, rows.size(2)}), ValueFormat{});
        store(bytes, at::cat(z).view({-1, axes.components()}), format_);
    }

    at::Tensor decode_plane(ByteReader& reader, const std::vector<Stretch>& stretches, PlaneAxes axes) const {
        const int64_t layers = shape_.layers, width = shape_.kv_dim();
        const at::Tensor whole =
            restore(reader, count_of(stretches, true) * layers, width, ValueFormat{}).view({-1, layers, width});
        const at::Tensor z = restore(reader, count_of(stretches, false) * layers, axes.components(), format_)
                                 .view({-1, layers, axes.components()});
        std::vector<at::Tensor> parts = {at::empty({0, layers, width})};
        int64_t used[2] = {0, 0};
        for (const Stretch& stretch : stretches) {
            const at::Tensor part = (stretch.whole ? whole : z).narrow(0, used[stretch.whole], stretch.count);
            used[stretch.whole] += stretch.count;
            parts.push_back(stretch.whole ? part : axes.lift(part));
            if (stretch.whole) follow(axes, part, settings_.rate);
        }
        return at::cat(parts);
    }

    int64_t bytes_of(const std::vector<Stretch>& stretches) const {
        const int64_t whole = count_of(stretches, true) * shape_.layers;
        const int64_t coded = count_of(stretches, false) * shape_.layers;
        int64_t bytes = 0;
        for (const PlaneAxes& axes : axes_)
            bytes +=
                stored_bytes(whole, shape_.kv_dim(), ValueFormat{}) + stored_bytes(coded, axes.components(), format_);
        return bytes;
    }

    StateShape shape_;
    int64_t reduction_;
    ValueFormat format_;
    OjaSettings settings_;
    std::vector<PlaneAxes> axes_;  // keys, values: where a run starts
};

class OjaFit final : public RunCodecFit {
   public:
    OjaFit(const StateShape& shape, OjaSettings settings) : shape_(shape), settings_(std::move(settings)) {}

    void add(const CodedRun& run) override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, CodedPart::kv);
        for (size_t p = 0; p < planes.size(); ++p) moments_[p].add(planes[p]);
    }

    std::vector<std::shared_ptr<const RunCodec>> finish() override {
        const int64_t least = *std::min_element(settings_.reductions.begin(), settings_.reductions.end());
        std::vector<PlaneAxes> all;
        for (const PlaneMoments& moments : moments_) all.push_back(moments.axes(reduced(shape_.kv_dim(), least)));
        std::vector<std::shared_ptr<const RunCodec>> codecs;
        for (const int64_t reduction : settings_.reductions) {
            std::vector<PlaneAxes> axes;
            for (const PlaneAxes& each : all) axes.push_back(each.leading(reduced(shape_.kv_dim(), reduction)));
            for (const ValueFormat& format : settings_.formats)
                codecs.push_back(std::make_shared<OjaRun>(shape_, reduction, format, settings_, axes));
        }
        return codecs;
    }

   private:
    StateShape shape_;
    OjaSettings settings_;
    std::array<PlaneMoments, 2> moments_;
};

void check(const OjaSettings& settings) {
    check_rates(settings.reductions, settings.formats);
    if (settings.first < 0 || settings.recent < 0 || settings.every < 0)
        throw InputError("first, recent, every: 0 or more tokens");
    if (!(settings.rate >= 0 && settings.rate <= 1)) throw InputError("rate: 0 to 1");
}

}  // namespace

std::unique_ptr<RunCodecFit> make_oja_fit(const ModelConfig& config, const OjaSettings& settings) {
    check(settings);
    return std::make_unique<OjaFit>(shape_of(config), settings);
}

std::shared_ptr<const RunCodec> load_oja(const TensorFile& file, const nlohmann::json& settings,
                                         const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "oja");
    const StateShape shape = load_shape(fields);
    OjaSettings read;
    read.first = fields.integer("first", 0, 1 << 30);
    read.recent = fields.integer("recent", 0, 1 << 30);
    read.every = fields.integer("every", 0, 1 << 30);
    read.rate = fields.number("rate");
    if (!(read.rate >= 0 && read.rate <= 1)) fields.refuse("rate", "is not in 0 to 1");
    const TensorFields tensors(file, settings, "", name);
    std::vector<PlaneAxes> axes;
    for (const Plane plane : planes_of(CodedPart::kv)) axes.push_back(load_axes(tensors, plane, shape));
    return std::make_shared<OjaRun>(shape, fields.integer("reduction", 1, 1 << 20), load_format(fields), read,
                                    std::move(axes));
}

}  // namespace savepoint
