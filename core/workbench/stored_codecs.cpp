#include "core/workbench/stored_codecs.h"

#include <algorithm>
#include <filesystem>

#include "core/sidecar/codec_files.h"
#include "core/workbench/codec_view.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

struct Stored {
    std::filesystem::file_time_type written;
    CodecInfo info;
    CodecView view;
};

std::vector<Stored> stored_codecs(Desk& desk, const std::string& folder) {
    std::vector<Stored> found;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
        if (entry.path().extension() != ".safetensors") continue;
        const std::string file = entry.path().string();
        try {
            Stored one{entry.last_write_time(), read_codec_info(file), {}};
            if (one.info.model_sha256 != desk.need_model().weights->sha256()) continue;
            one.view = codec_view(codec_figures_from(one.info.figures, file));
            one.view.file = file;
            one.view.at_hand = true;
            found.push_back(std::move(one));
        } catch (const std::exception& problem) {
            desk.notices.warn(std::string("a stored codec is left out: ") + problem.what());
        }
    }
    std::sort(found.begin(), found.end(), [](const Stored& a, const Stored& b) { return a.written > b.written; });
    return found;
}

bool learned(const Stored& one) { return one.view.kind == "learned"; }

}  // namespace

std::string codec_folder(const std::string& fit_folder) {
    return fit_folder.empty() ? std::string() : (std::filesystem::path(fit_folder) / "codecs").string();
}

void show_stored_codecs(Desk& desk) {
    desk.codecs.clear();
    desk.publisher.set_rate_distortion(nullptr);
    desk.publisher.set_codec_trial(nullptr);
    const std::string folder = codec_folder(desk.fit_folder);
    if (folder.empty()) return;
    const std::vector<Stored> all = stored_codecs(desk, folder);
    const auto newest = std::find_if_not(all.begin(), all.end(), learned);
    auto view = std::make_shared<RateDistortionView>();
    view->phase = Phase::ready;
    for (const Stored& one : all) {
        if (!learned(one) && one.info.settings != newest->info.settings) continue;
        desk.codecs.put(one.view.name, one.view.file);
        view->codecs.push_back(one.view);
    }
    if (!view->codecs.empty()) desk.publisher.set_rate_distortion(std::move(view));
}

}  // namespace savepoint
