// A thought kept as z: made, gone on from, saved, reopened, dropped and decoded again, exported and resumed.

#include <filesystem>

#include "core/model/weights.h"
#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/codec_quantized.h"
#include "core/workbench/fit_task.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;
namespace fs = std::filesystem;

namespace {

// A data folder in which codecs of keys and values were compared.
struct Compared {
    TemporaryFolder folder{"latent"};
    std::shared_ptr<const Weights> weights = Weights::from_gguf(model_path());
    fs::path fitted = fit_folder(folder.path().string(), weights->sha256());

    Compared() {
        fs::create_directories(fitted / "codecs");
        for (const int64_t bits : {8, 3}) {
            QuantizedSettings settings;
            settings.part = CodedPart::kv;
            settings.key_bits = settings.value_bits = bits;
            const auto codec = make_quantized(weights->config(), settings);
            CodecFigures figures;
            figures.name = codec->name();
            figures.kind = codec->kind();
            CodecInfo info;
            info.model_sha256 = weights->sha256();
            info.figures = described(figures);
            save_codec(file(codec->name()), *codec, info);
        }
    }
    std::string file(const std::string& name) const { return (fitted / "codecs" / codec_file_name(name)).string(); }
    std::unique_ptr<Bench> bench() const {
        WorkbenchOptions options = options_without_sidecar();
        options.data_folder = folder.path().string();
        return Bench::ready(options);
    }
};

const std::string kFine = "quantized int8 g32", kRough = "quantized int3 g32";

ThoughtId generated(Bench& bench) {
    return bench.after(raw("The lighthouse keeper had lived alone for thirty years, and every evening he", greedy(24)))
        ->current;
}

std::vector<TokenId> gone_on(Bench& bench, ThoughtId from) {
    const ThoughtId child = bench.after(command::Continue{from, greedy(8)})->current;
    const std::vector<TokenId> path = ids_of(*bench.now());
    bench.after(command::RemoveThought{child});
    return part(path, static_cast<int64_t>(path.size()) - 8, 8);
}

}  // namespace

TEST_CASE("a thought kept as z goes on from what its codec decodes, also after saving, reopening and being dropped") {
    const Compared compared;
    auto bench = compared.bench();
    const ThoughtId exact = generated(*bench);
    const std::vector<TokenId> ids = ids_of(*bench->now());
    const auto length = static_cast<int64_t>(ids.size());

    const auto kept = bench->after(command::KeepAsLatent{exact, kFine});
    REQUIRE(errors_of(*kept) == "");
    const ThoughtId id = kept->current;
    CHECK(id != exact);
    CHECK(ids_of(*kept) == ids);
    const ThoughtView view = *thought(*kept, id);
    CHECK(view.edge == EdgeKind::decoded);
    CHECK(view.parent == 0);
    CHECK(view.codec == kFine);
    // int8 of every key and value but the first four tokens' and the last one's, and a scale of 2 bytes for 32 of them.
    const int64_t values = (length - 5) * 30 * 2 * 192;
    CHECK(view.z_bytes >= values);
    CHECK(view.z_bytes < 1.2 * static_cast<double>(values));
    CHECK(view.fp16_bytes == doctest::Approx(static_cast<double>(length) * 30 * 2 * 192 * 2));
    CHECK(view.kl_next > 0);
    CHECK(view.kl_next < 0.01);
    CHECK(thought(*kept, id)->prompt_tokens == thought(*kept, exact)->prompt_tokens);
    CHECK_FALSE(kept->path->tokens[10]->edited);

    // Coarser codes lose more.
    const auto rough = bench->after(command::KeepAsLatent{exact, kRough});
    CHECK(thought(*rough, rough->current)->kl_next > 5 * view.kl_next);
    bench->after(command::RemoveThought{rough->current});
    const std::vector<TokenId> next = gone_on(*bench, id);

    // Its hidden states follow from the decoded keys and values: as the exact ones before z begins, near them behind.
    const auto drift = bench->after(command::CompareRuns{exact, id, {}}, true)->drift;
    REQUIRE(drift);
    CHECK(errors_of(*bench->now()) == "");
    CHECK(thought(*bench->now(), id)->has_hidden);
    for (const auto& map : drift->maps) {
        const auto cells = map->rows * map->heads;
        const auto largest = [&](int64_t first, int64_t end) {
            return *std::max_element(map->distance.begin() + first * cells, map->distance.begin() + end * cells);
        };
        CHECK(largest(0, 4) < 1e-3);
        CHECK(largest(4, length) > 1e-3);
        CHECK(largest(4, length) < 0.2);
    }

    // Kept under its digest: comparing again may take its file away.
    fs::remove(compared.file(kFine));
    const std::string session = compared.folder.file("kept.savepoint");
    bench->after(command::RemoveThought{exact});
    bench->after(command::SaveSession{session, ""});
    uintmax_t stored = 0;
    for (const auto& entry : fs::recursive_directory_iterator(session))
        if (entry.is_regular_file()) stored += entry.file_size();
    CHECK(static_cast<int64_t>(stored) < view.z_bytes + 16384);

    bench = compared.bench();
    const auto opened = bench->after(command::OpenSession{session});
    CHECK(thought(*opened, id)->edge == EdgeKind::decoded);
    CHECK(thought(*opened, id)->z_bytes == view.z_bytes);
    CHECK(thought(*opened, id)->kl_next == doctest::Approx(view.kl_next));
    CHECK_FALSE(thought(*opened, id)->has_kv);
    CHECK(gone_on(*bench, id) == next);

    // Under a budget its decoded rows go, z stays.
    const ThoughtId other = bench->after(raw("Another", greedy(2)))->current;
    bench->after(command::SetMemoryBudget{1000}, true);
    REQUIRE(bench->wait_for([&](const Snapshot& s) { return !thought(s, id)->has_kv; }));
    CHECK(bench->now()->current == other);
    CHECK(gone_on(*bench, id) == next);
    CHECK(errors_of(*bench->now()) == "");

    // Saved by itself, it is the same path in another session.
    const std::string file = compared.folder.file("sea-z.safetensors");
    bench->after(command::SetCurrent{id});
    bench->after(command::Export{"z.safetensors", file});
    CHECK(static_cast<int64_t>(fs::file_size(file)) < view.z_bytes + 4 * length + 1024);
    bench->after(command::NewSession{}, true);
    const auto resumed = bench->after(command::ResumeLatent{file});
    CHECK(errors_of(*resumed) == "");
    CHECK(ids_of(*resumed) == ids);
    CHECK(std::isnan(thought(*resumed, resumed->current)->kl_next));
    CHECK(gone_on(*bench, resumed->current) == next);

    // Without its codec it says which file is missing, and nothing runs on a state that is not its own.
    fs::remove_all(compared.fitted / "kept");
    bench->after(command::OpenSession{session});
    bench->after(command::Continue{id, greedy(4)});
    CHECK(errors_of(*bench->now()).find("is missing: the codec \"" + kFine) != std::string::npos);
    CHECK(bench->now()->graph->thoughts.size() == 1);
}

TEST_CASE("what cannot be kept as z is refused with the reason") {
    const Compared compared;
    const auto bench = compared.bench();
    const ThoughtId exact = generated(*bench);
    bench->after(command::KeepAsLatent{exact, ""});
    CHECK(errors_of(*bench->now()).find("no sidecar is fitted") != std::string::npos);
    bench->after(command::KeepAsLatent{exact, "another"});
    CHECK(errors_of(*bench->now()).find("\"another\" has not been compared") != std::string::npos);
    const ThoughtId little = bench->after(raw("The", greedy(3)))->current;
    bench->after(command::KeepAsLatent{little, kFine});
    CHECK(errors_of(*bench->now()).find("it takes 6") != std::string::npos);
    bench->after(command::SetCurrent{exact});
    bench->after(command::Export{"z.safetensors", compared.folder.file("none.safetensors")});
    CHECK(errors_of(*bench->now()).find("is not kept as z") != std::string::npos);
    bench->after(command::ResumeLatent{compared.file(kFine)});
    CHECK(errors_of(*bench->now()).find("is not a latent") != std::string::npos);
    CHECK(bench->now()->graph->thoughts.size() == 2);
}
