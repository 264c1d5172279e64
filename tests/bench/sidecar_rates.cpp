// What a sidecar costs and what it loses: one fit at high rank, cut down to several rates, each measured on the same
// held-out text. Usage: bench_sidecar_rates [fit tokens] [folder to keep the high-rank fit in]
// Prints one line of JSON a measurement.

#include <ATen/ATen.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/model/device.h"
#include "core/model/sampler.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/latent_edit.h"

using namespace savepoint;

namespace {

constexpr int64_t kLength = 256;
constexpr uint64_t kSeed = 1;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::shared_ptr<const Sidecar> high_rank_fit(const Transformer& model, const std::vector<std::vector<TokenId>>& text) {
    PcaSettings settings;
    settings.hidden_components = 512;
    settings.key_components = settings.value_components = 0;
    settings.bits = 0;
    PcaFit fit(model.config(), settings);
    ForwardOptions options;
    options.logits = Logits::none;
    for (const auto& sequence : text) fit.add(model.forward_batch({sequence}, options).rows.slice(4, kLength - 4));
    const PcaFit::Codecs codecs = fit.finish();
    return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, SidecarInfo{});
}

struct Rate {
    int64_t hidden = 512, key = 192, value = 192;
    int bits = 0;
    double hidden_width = 12, kv_width = 6;  // half the grid in standard deviations
};

void cut(TensorFile& file, const std::string& prefix, int64_t dimension, int64_t components) {
    for (const char* field : {"basis", "variance"}) {
        at::Tensor& tensor = file.tensors[prefix + field];
        tensor = tensor.slice(dimension, 0, components).contiguous();
    }
}

at::Tensor grid(const at::Tensor& variance, double width) { return (variance.sqrt() * width).reshape({-1}); }

std::shared_ptr<const Sidecar> at_rate(const Sidecar& full, const Rate& rate) {
    TensorFile file;
    nlohmann::json hidden, kv;
    full.hidden().save(file, hidden);
    full.kv().save(file, kv);
    hidden["bits"] = kv["bits"] = rate.bits;
    std::vector<at::Tensor> bounds;
    for (size_t g = 0; g < full.hidden().groups().size(); ++g) {
        const std::string prefix = "hidden." + std::to_string(g) + ".";
        cut(file, prefix, 0, rate.hidden);
        bounds.push_back(grid(file.tensors[prefix + "variance"], rate.hidden_width));
    }
    const auto set_grid = [&](const std::string& prefix, const at::Tensor& high) {
        file.tensors[prefix + "high"] = high;
        file.tensors[prefix + "low"] = -high;
    };
    set_grid("hidden.", at::cat(bounds));
    cut(file, "key.", 1, rate.key);
    cut(file, "value.", 1, rate.value);
    for (const char* prefix : {"key.", "value."})
        set_grid(prefix, grid(file.tensors[std::string(prefix) + "variance"], rate.kv_width));
    return std::make_shared<Sidecar>(load_pca_hidden(file, hidden, "bench"), load_pca_kv(file, kv, "bench"),
                                     SidecarInfo{});
}

struct HeldOut {
    std::vector<std::vector<TokenId>> text;
    std::vector<StateRows> rows;
};

void measure_states(const Sidecar& sidecar, const HeldOut& held_out, nlohmann::json& line) {
    double hidden = 0, key = 0, value = 0;
    for (const StateRows& rows : held_out.rows) {
        const ReconstructionError error = reconstruction_error(sidecar, rows);
        hidden += error.hidden_fvu.mean().item<double>();
        key += error.key_fvu.mean().item<double>();
        value += error.value_fvu.mean().item<double>();
    }
    const auto count = static_cast<double>(held_out.rows.size());
    line["hidden_fvu"] = hidden / count;
    line["key_fvu"] = key / count;
    line["value_fvu"] = value / count;
}

void measure_resuming(const Transformer& model, const Sidecar& sidecar, const HeldOut& held_out, nlohmann::json& line) {
    double kl = 0, top1 = 0, nll = 0;
    for (const auto& text : held_out.text) {
        const std::vector<TokenId> tokens(text.begin(), text.begin() + 192);
        const ResumeFidelity one = resume_fidelity(model, sidecar, tokens, 128);
        kl += one.kl_nats;
        top1 += one.top1_agreement;
        nll += one.delta_nll;
    }
    const auto count = static_cast<double>(held_out.text.size());
    line["kl"] = kl / count;
    line["top1"] = top1 / count;
    line["delta_nll"] = nll / count;
}

// KL of the next token when D(z) of one token's group takes the place of its state: the control of an intervention.
void measure_controls(const Transformer& model, const Sidecar& sidecar, const HeldOut& held_out, nlohmann::json& line) {
    std::vector<double> kl(sidecar.hidden().groups().size(), 0.0);
    int64_t count = 0;
    for (size_t i = 0; i < 2; ++i) {
        for (int64_t position = 40; position < 200; position += 20, ++count) {
            KvCache cache = model.make_cache(kLength);
            model.restore(cache, held_out.rows[i].slice(0, position));
            const StateRows saved = held_out.rows[i].slice(position, 1);
            const Latent z = sidecar.encode(saved);
            const at::Tensor exact = model.unembed(saved.hidden.select(1, saved.hidden.size(1) - 1));
            for (size_t g = 0; g < kl.size(); ++g) {
                const RowEdit edit = decode_row(sidecar, z, 0, position, {{static_cast<int64_t>(g), true, false, {}}});
                ForwardOptions options;
                options.capture = false;
                const at::Tensor logits =
                    model.decode_from_saved(cache, held_out.text[i][position], saved, edit, options).logits;
                kl[g] += kl_divergence(exact, logits).item<double>();
                cache.truncate(position);
            }
        }
    }
    for (double& value : kl) value /= static_cast<double>(count);
    line["control_kl_by_group"] = kl;
}

}  // namespace

int main(int argc, char** argv) {
    set_threads(0);
    const char* path = std::getenv("SAVEPOINT_MODEL");
    const int64_t fit_tokens = argc > 1 ? std::atoll(argv[1]) : 20480;
    const Transformer model(Weights::from_gguf(path ? path : SAVEPOINT_DEFAULT_MODEL));
    const Tokenizer tokenizer(path ? path : SAVEPOINT_DEFAULT_MODEL);
    const TokenSplit split = split_corpus(fortunes_corpus(), tokenizer, kLength, fit_tokens, 8 * kLength, kSeed);
    const std::string kept = argc > 2 ? std::string(argv[2]) + "/high_rank.safetensors" : "";
    const double start = now();
    const auto full = !kept.empty() && std::filesystem::exists(kept) ? Sidecar::load(kept, model.shared_weights())
                                                                     : high_rank_fit(model, split.fit);
    if (!kept.empty() && !std::filesystem::exists(kept)) full->save(kept);
    std::printf("{\"fit_seconds\": %.1f}\n", now() - start);
    HeldOut held_out{split.held_out, {}};
    ForwardOptions options;
    options.logits = Logits::none;
    for (const auto& text : held_out.text) held_out.rows.push_back(model.forward_batch({text}, options).rows);
    const auto report = [&](const Rate& rate, bool resuming, bool controls) {
        const auto sidecar = at_rate(*full, rate);
        nlohmann::json line = {{"hidden", rate.hidden},
                               {"key", rate.key},
                               {"value", rate.value},
                               {"bits", rate.bits},
                               {"hidden_width", rate.hidden_width},
                               {"kv_width", rate.kv_width}};
        line["hidden_bytes"] = sidecar->hidden().bytes_per_token();
        line["kv_bytes"] = sidecar->kv().bytes_per_token();
        measure_states(*sidecar, held_out, line);
        if (resuming) measure_resuming(model, *sidecar, held_out, line);
        if (controls) measure_controls(model, *sidecar, held_out, line);
        std::printf("%s\n", line.dump().c_str());
        std::fflush(stdout);
    };
    for (const int64_t components : {64, 128, 256, 384, 512}) report({components}, false, true);
    for (const double width : {6.0, 8.0, 12.0, 16.0, 24.0})
        report({.hidden = 512, .bits = 8, .hidden_width = width}, false, true);
    for (const double width : {5.0, 8.0, 12.0}) report({.hidden = 512, .bits = 6, .hidden_width = width}, false, true);
    for (const double width : {3.0, 4.0, 6.0}) report({.hidden = 512, .bits = 4, .hidden_width = width}, false, true);
    for (const double width : {3.0, 4.0, 5.0, 6.0, 8.0, 12.0}) report({.bits = 8, .kv_width = width}, true, false);
    for (const double width : {4.0, 5.0, 6.0}) report({.bits = 6, .kv_width = width}, true, false);
    for (const double width : {2.5, 3.0, 4.0}) report({.bits = 4, .kv_width = width}, true, false);
    for (const int64_t components : {64, 96, 128, 160})
        report({.key = components, .value = components, .bits = 8}, true, false);
    report({.key = 128, .bits = 8}, true, false);
    report({.value = 128, .bits = 8}, true, false);
}
