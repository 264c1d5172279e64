#include "core/sidecar/codec_pca.h"

#include <ATen/ATen.h>

#include "core/model/error.h"

namespace savepoint {

namespace {

class PcaRun final : public RunCodec {
   public:
    PcaRun(const StateShape& shape, CodedPart part, int64_t reduction, ValueFormat format, std::vector<PlaneAxes> axes)
        : shape_(shape), part_(part), reduction_(reduction), format_(format), axes_(std::move(axes)) {}

    std::string kind() const override { return "pca"; }
    std::string name() const override {
        const std::string part = part_ == CodedPart::kv ? "" : " " + to_string(part_);
        return "pca" + part + " 1/" + std::to_string(reduction_) + " " + to_string(format_);
    }
    CodedPart part() const override { return part_; }

    std::string encode(const CodedRun& run) const override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, part_);
        std::string bytes;
        for (size_t p = 0; p < planes.size(); ++p)
            store(bytes, axes_[p].project(planes[p]).view({-1, axes_[p].components()}), format_);
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto rows = static_cast<int64_t>(tokens.size()) * shape_.layers;
        int64_t expected = 0;
        for (const PlaneAxes& axes : axes_) expected += stored_bytes(rows, axes.components(), format_);
        require_size(bytes, expected, name());
        ByteReader reader(bytes, name());
        std::vector<at::Tensor> planes;
        for (const PlaneAxes& axes : axes_) {
            const at::Tensor z = restore(reader, rows, axes.components(), format_);
            planes.push_back(axes.lift(z.view({-1, shape_.layers, axes.components()})));
        }
        return rows_from(planes, shape_, part_);
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()}, {"reduction", reduction_}};
        save_part(part_, settings);
        save_shape(shape_, settings);
        save_format(format_, settings);
        size_t p = 0;
        for (const Plane plane : planes_of(part_)) save_axes(axes_[p++], plane, file);
    }

   private:
    StateShape shape_;
    CodedPart part_;
    int64_t reduction_;
    ValueFormat format_;
    std::vector<PlaneAxes> axes_;  // of planes_of(part_)
};

class PcaRunFit final : public RunCodecFit {
   public:
    PcaRunFit(const StateShape& shape, PcaRunSettings settings)
        : shape_(shape), settings_(std::move(settings)), moments_(planes_of(settings_.part).size()) {}

    void add(const CodedRun& run) override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, settings_.part);
        for (size_t p = 0; p < planes.size(); ++p) moments_[p].add(planes[p]);
    }

    std::vector<std::shared_ptr<const RunCodec>> finish() override {
        const std::vector<Plane> planes = planes_of(settings_.part);
        const int64_t least = *std::min_element(settings_.reductions.begin(), settings_.reductions.end());
        std::vector<PlaneAxes> all;
        for (size_t p = 0; p < planes.size(); ++p)
            all.push_back(moments_[p].axes(reduced(width_of(shape_, planes[p]), least)));
        std::vector<std::shared_ptr<const RunCodec>> codecs;
        for (const int64_t reduction : settings_.reductions) {
            std::vector<PlaneAxes> axes;
            for (size_t p = 0; p < planes.size(); ++p)
                axes.push_back(all[p].leading(reduced(width_of(shape_, planes[p]), reduction)));
            for (const ValueFormat& format : settings_.formats)
                codecs.push_back(std::make_shared<PcaRun>(shape_, settings_.part, reduction, format, axes));
        }
        return codecs;
    }

   private:
    StateShape shape_;
    PcaRunSettings settings_;
    std::vector<PlaneMoments> moments_;
};

}  // namespace

std::unique_ptr<RunCodecFit> make_pca_fit(const ModelConfig& config, const PcaRunSettings& settings) {
    check_rates(settings.reductions, settings.formats);
    return std::make_unique<PcaRunFit>(shape_of(config), settings);
}

std::shared_ptr<const RunCodec> load_pca(const TensorFile& file, const nlohmann::json& settings,
                                         const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "pca");
    const StateShape shape = load_shape(fields);
    const CodedPart part = load_part(fields);
    std::vector<PlaneAxes> axes;
    for (const Plane plane : planes_of(part))
        axes.push_back(load_axes(TensorFields(file, settings, "", name), plane, shape));
    return std::make_shared<PcaRun>(shape, part, fields.integer("reduction", 1, 1 << 20), load_format(fields),
                                    std::move(axes));
}

}  // namespace savepoint
