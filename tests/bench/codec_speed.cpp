// How fast codecs restore and code a thousand tokens, beside replaying them: each in turn, some rounds, on the same
// held-out text. Usage: bench_codec_speed [--rounds N] CODEC.safetensors...    (savepoint evaluate --codecs --save
// FOLDER writes them)

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/device.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/fit.h"

using namespace savepoint;

namespace {

constexpr int64_t kTokens = 1000, kFirst = 4;

double seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Spread {
    double low, median, high;
};

Spread spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return {values.front(), values[values.size() / 2], values.back()};
}

struct Timed {
    std::string name;
    std::shared_ptr<const RunCodec> codec;
    std::string bytes;
    std::vector<double> restore = {}, encode = {};  // seconds
};

void print(const char* what, const std::vector<double>& times, const std::vector<double>& replay) {
    std::vector<double> ratios;
    for (size_t i = 0; i < times.size(); ++i) ratios.push_back(replay[i] / times[i]);
    const Spread r = spread(ratios);
    std::printf("  %-8s %7.1f ms, %5.2f times as fast as replay (%.2f to %.2f)\n", what, 1000 * spread(times).median,
                r.median, r.low, r.high);
}

}  // namespace

int main(int argc, char** argv) {
    int rounds = 9, first = 1;
    if (argc > 2 && std::string(argv[1]) == "--rounds") rounds = std::atoi(argv[2]), first = 3;
    if (argc <= first || rounds < 1) {
        std::fprintf(stderr, "usage: bench_codec_speed [--rounds N] CODEC.safetensors...\n");
        return 2;
    }
    const at::NoGradGuard no_grad;
    set_threads(0);
    const char* file = std::getenv("SAVEPOINT_MODEL");
    if (!file) file = SAVEPOINT_DEFAULT_MODEL;
    const Transformer model(Weights::from_gguf(file));
    const Tokenizer tokenizer(file);
    const auto ids = split_corpus(fortunes_corpus(), tokenizer, kTokens, 25 * kTokens, kTokens, 1).held_out.at(0);
    const std::span<const TokenId> coded = std::span(ids).subspan(kFirst);

    KvCache cache = model.make_cache(kTokens);
    const StateRows rows = model.prefill(cache, ids, {}).rows;
    const CodedRun run = coded_run(model, rows, ids, kFirst);
    std::vector<Timed> all;
    for (int i = first; i < argc; ++i) {
        auto codec = load_codec(argv[i], model.shared_weights()).codec;
        std::string bytes = codec->encode(run);
        const std::string name = codec->name();
        all.push_back({name, std::move(codec), std::move(bytes)});
    }

    std::vector<double> replay;
    for (int round = 0; round < rounds; ++round) {
        ForwardOptions options;
        options.logits = Logits::none;
        options.capture = false;
        replay.push_back(seconds([&] {
            KvCache fresh = model.make_cache(kTokens);
            model.prefill(fresh, ids, options);
        }));
        for (Timed& t : all) {
            t.restore.push_back(seconds([&] { t.codec->decode(t.bytes, coded, kFirst); }));
            t.encode.push_back(seconds([&] { t.codec->encode(run); }));
        }
    }
    std::printf("replay of %ld tokens: %.0f ms\n", static_cast<long>(kTokens), 1000 * spread(replay).median);
    for (const Timed& t : all) {
        std::printf("%s (%zu bytes)\n", t.name.c_str(), t.bytes.size());
        print("restore", t.restore, replay);
        print("encode", t.encode, replay);
    }
}
