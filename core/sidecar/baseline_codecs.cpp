#include "core/sidecar/baseline_codecs.h"

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

// KIVI as published, then what makes a finished prefix smaller.
std::vector<QuantizedSettings> quantized_variants(CodedPart part) {
    std::vector<QuantizedSettings> list;
    for (const int bits : {8, 6, 5, 4, 3, 2}) list.push_back(quantized_settings(part, bits, 32));
    for (const int bits : {4, 3, 2}) {
        QuantizedSettings settings = quantized_settings(part, bits, 32);
        settings.short_group = true;
        list.push_back(settings);
        settings.group = 64;
        list.push_back(settings);
        settings.hadamard = true;
        list.push_back(settings);
    }
    QuantizedSettings windowed = quantized_settings(part, 2, 32);
    windowed.window = 32;
    list.push_back(windowed);
    return list;
}

}  // namespace

std::vector<std::shared_ptr<const RunCodec>> quantized_baselines(const ModelConfig& config, CodedPart part) {
    std::vector<std::shared_ptr<const RunCodec>> codecs;
    for (const QuantizedSettings& settings : quantized_variants(part))
        codecs.push_back(make_quantized(config, settings));
    return codecs;
}

}  // namespace savepoint
