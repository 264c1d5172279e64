// The time of the default fit, by parts. Usage: bench_default_fit [hidden components] [hidden stride] [corpus tokens]
// Prints one line of JSON: seconds by kind of step, the longest and the fastest step of each, what
// the whole would take if all steps were as fast (a machine is rarely quiet throughout), and the figures.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>

#include "core/analysis/reference_fit.h"
#include "core/model/device.h"

using namespace savepoint;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string kind_of(const std::string& stage) {
    const auto digit = stage.find_first_of("0123456789");
    return stage.substr(0, digit == std::string::npos ? digit : digit - 1);
}

std::string load() {
    std::string one;
    std::ifstream("/proc/loadavg") >> one;
    return one;
}

}  // namespace

int main(int argc, char** argv) {
    set_threads(0);
    const char* path = std::getenv("SAVEPOINT_MODEL");
    const Transformer model(Weights::from_gguf(path ? path : SAVEPOINT_DEFAULT_MODEL));
    const Tokenizer tokenizer(path ? path : SAVEPOINT_DEFAULT_MODEL);
    FitSettings settings;
    if (argc > 1) settings.pca.hidden_components = std::atoll(argv[1]);
    if (argc > 2) settings.pca.hidden_stride = std::atoll(argv[2]);
    if (argc > 3) settings.fit_tokens = std::atoll(argv[3]);
    nlohmann::json out = {{"threads", threads()}, {"processor", cpu_name()}, {"load_before", load()}};
    std::map<std::string, double> seconds, longest, fastest, count;
    const double start = now();
    ReferenceFit fit(model, tokenizer, settings);
    while (!fit.done()) {
        const std::string kind = kind_of(fit.stage());
        const double before = now();
        fit.step();
        const double took = now() - before;
        seconds[kind] += took;
        longest[kind] = std::max(longest[kind], took);
        fastest[kind] = count[kind] > 0 ? std::min(fastest[kind], took) : took;
        count[kind] += 1;
    }
    out["seconds"] = now() - start;
    out["load_after"] = load();
    out["parts"] = seconds;
    out["longest_step"] = longest;
    out["fastest_step"] = fastest;
    out["steps"] = count;
    double quiet = 0;
    for (const auto& [kind, took] : fastest) quiet += took * count[kind];
    out["seconds_if_quiet"] = quiet;
    out["resident_mib"] = resident_bytes() >> 20;
    out["sidecar_bytes"] = fit.result().sidecar->byte_account(model.config()).sidecar_bytes;
    out["settings"] = fit.result().sidecar->info().settings;
    out["figures"] = fit.result().sidecar->info().figures;
    std::printf("%s\n", out.dump(2).c_str());
}
