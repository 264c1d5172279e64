#include "core/sidecar/baseline_codecs.h"

#include "core/sidecar/codec_delta.h"
#include "core/sidecar/codec_downsampled.h"
#include "core/sidecar/codec_lowrank.h"
#include "core/sidecar/codec_oja.h"
#include "core/sidecar/codec_pca.h"
#include "core/sidecar/codec_quantized.h"

namespace savepoint {

namespace {

QuantizedSettings quantized_settings(CodedPart part, int bits, int64_t group) {
    QuantizedSettings settings;
    settings.part = part;
    settings.hidden_bits = settings.key_bits = settings.value_bits = bits;
    settings.group = group;
    return settings;
}

// Group sizes that fit a layer's values, ascending: KIVI's 32, twice that, and one scale for a whole row.
std::vector<int64_t> group_sizes(const ModelConfig& config) {
    std::vector<int64_t> sizes;
    for (const int64_t size : {int64_t{32}, int64_t{64}, config.kv_dim()})
        if (config.kv_dim() % size == 0 && (sizes.empty() || size > sizes.back())) sizes.push_back(size);
    return sizes;
}

// KIVI as published, then what makes a finished prefix smaller.
std::vector<QuantizedSettings> quantized_variants(const ModelConfig& config, CodedPart part) {
    const std::vector<int64_t> groups = group_sizes(config);
    std::vector<QuantizedSettings> list;
    for (const int bits : {8, 6, 5, 4, 3, 2}) list.push_back(quantized_settings(part, bits, groups.front()));
    for (const int bits : {4, 3, 2}) {
        QuantizedSettings settings;
        for (const int64_t group : groups) {
            settings = quantized_settings(part, bits, group);
            settings.short_group = true;
            list.push_back(settings);
        }
        settings.hadamard = true;
        list.push_back(settings);
    }
    QuantizedSettings windowed = quantized_settings(part, 2, groups.front());
    windowed.window = 32;
    list.push_back(windowed);
    return list;
}

// Several fits on one stream of text.
class FitOfAll final : public RunCodecFit {
   public:
    explicit FitOfAll(std::vector<std::unique_ptr<RunCodecFit>> fits) : fits_(std::move(fits)) {}

    void add(const CodedRun& run) override {
        for (const auto& fit : fits_) fit->add(run);
    }
    std::vector<std::shared_ptr<const RunCodec>> finish() override {
        std::vector<std::shared_ptr<const RunCodec>> codecs;
        for (const auto& fit : fits_)
            for (auto& codec : fit->finish()) codecs.push_back(std::move(codec));
        return codecs;
    }

   private:
    std::vector<std::unique_ptr<RunCodecFit>> fits_;
};

// Coefficients as a narrow bottleneck keeps them, and in as few bits as KIVI's.
const std::vector<ValueFormat> kCoefficients = {{16, 32}, {4, 32}};

}  // namespace

std::vector<std::shared_ptr<const RunCodec>> quantized_baselines(const ModelConfig& config, CodedPart part) {
    std::vector<std::shared_ptr<const RunCodec>> codecs;
    for (const QuantizedSettings& settings : quantized_variants(config, part))
        codecs.push_back(make_quantized(config, settings));
    return codecs;
}

std::vector<std::shared_ptr<const RunCodec>> weight_baselines(const Weights& weights, CodedPart part) {
    if (part != CodedPart::kv) return {};
    const int64_t width = weights.config().kv_dim();
    std::vector<LowRankSettings> settings;
    for (const ValueFormat& format : kCoefficients)
        for (const int64_t share : {1, 2, 4})
            settings.push_back({reduced(width, share), reduced(width, 2 * share), format});
    return make_lowrank(weights, settings);
}

std::unique_ptr<RunCodecFit> make_baseline_fit(const ModelConfig& config, CodedPart part) {
    std::vector<std::unique_ptr<RunCodecFit>> fits;
    PcaRunSettings pca;
    pca.part = part;
    pca.formats = kCoefficients;
    fits.push_back(make_pca_fit(config, pca));
    if (part == CodedPart::kv) {
        DownsampledSettings downsampled;
        downsampled.formats = kCoefficients;
        OjaSettings oja;
        oja.formats = kCoefficients;
        fits.push_back(make_downsampled_fit(config, downsampled));
        fits.push_back(make_oja_fit(config, oja));
        fits.push_back(make_delta_fit(config, DeltaSettings{}));
    }
    return std::make_unique<FitOfAll>(std::move(fits));
}

std::vector<std::shared_ptr<const RunCodec>> all_baselines(const Weights& weights, RunCodecFit& fit, CodedPart part) {
    std::vector<std::shared_ptr<const RunCodec>> codecs = quantized_baselines(weights.config(), part);
    for (auto& codec : weight_baselines(weights, part)) codecs.push_back(std::move(codec));
    for (auto& codec : fit.finish()) codecs.push_back(std::move(codec));
    return codecs;
}

std::shared_ptr<const RunCodec> load_baseline(const TensorFile& file, const nlohmann::json& settings,
                                              const std::string& name) {
    const std::string kind = Fields(settings, name, "").text("kind");
    if (kind == "quantized") return load_quantized(file, settings, name);
    if (kind == "pca") return load_pca(file, settings, name);
    if (kind == "lowrank") return load_lowrank(file, settings, name);
    if (kind == "downsampled") return load_downsampled(file, settings, name);
    if (kind == "oja") return load_oja(file, settings, name);
    if (kind == "delta") return load_delta(file, settings, name);
    return nullptr;
}

}  // namespace savepoint
