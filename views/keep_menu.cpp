#include "views/keep_menu.h"

#include <imgui.h>

#include <algorithm>

#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr int64_t kShortest = 6;  // the first four tokens and the last one are run by the model

constexpr const char* kAbout =
    "A thought of its own, whose state is what the codec decodes: the session stores its z in the place of exact keys "
    "and values. It is approximate; the card shows the bytes, its tooltip the measured error.";

std::string why_not(const Snapshot& snapshot, ThoughtId id) {
    for (const ThoughtView& thought : snapshot.graph->thoughts) {
        if (thought.id != id) continue;
        if (thought.generating) return "It is still being generated.";
        if (thought.path_tokens < kShortest) return "It takes a path of at least 6 tokens.";
        return {};
    }
    return "There is no such thought.";
}

bool entry(const std::string& label, const std::string& problem) {
    const bool chosen = ImGui::MenuItem(label.c_str(), nullptr, false, problem.empty());
    tooltip(problem.empty() ? kAbout : problem.c_str());
    return chosen;
}

bool decodes_keys(const CodecView& codec) { return codec.at_hand && codec.part != "hidden" && codec.kind != "replay"; }

std::vector<const CodecView*> largest_first(const RateDistortionView& compared) {
    std::vector<const CodecView*> codecs;
    for (const CodecView& codec : compared.codecs)
        if (decodes_keys(codec)) codecs.push_back(&codec);
    std::sort(codecs.begin(), codecs.end(), [](auto* a, auto* b) { return a->bytes_per_token > b->bytes_per_token; });
    return codecs;
}

}  // namespace

std::string why_not_by_sidecar(const Snapshot& snapshot, ThoughtId thought) {
    if (std::string problem = why_not(snapshot, thought); !problem.empty()) return problem;
    if (snapshot.sidecar->hash.empty()) return "No sidecar is fitted yet.";
    if (!snapshot.sidecar->joint)
        return "This sidecar has no single z: fit one of the form One z in Model and sidecar.";
    return {};
}

void keep_as_z_entries(Frame& frame, ThoughtId thought) {
    const SidecarView& sidecar = *frame.snapshot.sidecar;
    std::string label = "by the sidecar";
    if (sidecar.joint) label += formatted(", %.1f times smaller", sidecar.ratio_fp16);
    label += "###by the sidecar";
    if (entry(label, why_not_by_sidecar(frame.snapshot, thought))) frame.submit(command::KeepAsLatent{thought, {}});
    const auto& compared = frame.snapshot.rate_distortion;
    if (!compared) {
        ImGui::TextDisabled("more codecs: compare them in Rate and distortion");
        return;
    }
    const std::string problem = why_not(frame.snapshot, thought);
    for (const CodecView* codec : largest_first(*compared))
        if (entry("by " + codec->name, problem)) frame.submit(command::KeepAsLatent{thought, codec->name});
}

}  // namespace savepoint::views
