#include "core/workbench/projection_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "core/model/error.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

struct Parts {
    std::vector<MapPart> all;  // by layer group or block
    const char* joined;        // what all of them together are called
};

Parts parts_there(const Desk& desk, ProjectionSource source) {
    Parts parts{{}, source == ProjectionSource::latents ? "all groups" : "all layers"};
    if (source == ProjectionSource::latents) {
        const HiddenCodec& codec = desk.need_sidecar().hidden();
        for (size_t g = 0; g < codec.groups().size(); ++g)
            parts.all.push_back({codec.groups()[g].label(), codec.components(static_cast<int64_t>(g))});
    } else {
        const ModelConfig& config = desk.transformer().config();
        for (int64_t l = 0; l < config.layers; ++l) parts.all.push_back({"layer " + std::to_string(l), config.d_model});
    }
    return parts;
}

std::string joined_label(const std::vector<MapPart>& columns) {
    std::string label = columns.front().label;
    if (columns.size() == 2) return label + " and " + columns.back().label;
    return columns.size() == 1 ? label : label + " and " + std::to_string(columns.size() - 1) + " more";
}

}  // namespace

std::vector<MapPlan> map_plans(const Desk& desk, const ProjectionSettings& settings) {
    const Parts there = parts_there(desk, settings.source);
    const auto count = static_cast<int64_t>(there.all.size());
    std::vector<int64_t> wanted = settings.parts;
    if (wanted.empty())
        for (int64_t i = 0; i < count; ++i) wanted.push_back(i);
    MapPlan joined;
    std::vector<MapPlan> plans;
    for (const int64_t part : wanted) {
        if (part < 0 || part >= count)
            throw InputError(
                "projection: " + std::string(settings.source == ProjectionSource::latents ? "layer group " : "layer ") +
                std::to_string(part) + " is not there; there are 0 to " + std::to_string(count - 1));
        const MapPart& columns = there.all[static_cast<size_t>(part)];
        joined.parts.push_back(part), joined.columns.push_back(columns);
        plans.push_back({columns.label, {part}, {columns}});
    }
    if (settings.arrangement == ProjectionArrangement::separate) return plans;
    joined.label = settings.parts.empty() ? there.joined : joined_label(joined.columns);
    if (settings.arrangement == ProjectionArrangement::stacked) {
        if (settings.source != ProjectionSource::hidden)
            throw InputError(
                "projection: latents of different layer groups are in spaces of their own, so that they cannot share a "
                "map as points; stack hidden states, or make a map for each group");
        joined.stacked = true;
        joined.columns = {{"hidden state", joined.columns.front().columns}};
    }
    return {joined};
}

std::vector<PathSpan> spans_in_scope(const Desk& desk, const ProjectionSettings& settings) {
    std::vector<ThoughtId> ends;
    if (settings.scope == ProjectionScope::path && desk.current != 0) ends.push_back(desk.current);
    if (settings.scope == ProjectionScope::chosen) ends = settings.thoughts;
    if (settings.scope == ProjectionScope::all)
        for (const auto& [id, thought] : desk.graph.thoughts()) ends.push_back(id);
    std::map<ThoughtId, PathSpan> widest;
    for (const ThoughtId end : ends) {
        if (!desk.graph.contains(end)) continue;
        for (const PathSpan& span : desk.graph.path(end)) {
            PathSpan& held = widest.try_emplace(span.thought, span).first->second;
            held.count = std::max(held.count, span.count);
        }
    }
    std::vector<PathSpan> all;
    for (const auto& [id, span] : widest) all.push_back(span);
    return all;
}

int64_t first_in_map(const Desk& desk, const ProjectionSettings& settings, const PathSpan& span) {
    if (settings.first_tokens) return 0;
    const int64_t sinks = desk.fit.sidecar ? desk.fit.sidecar->info().exact_first_tokens : 4;
    return std::clamp<int64_t>(sinks - span.first, 0, span.count);
}

void gather_rows(const Desk& desk, const ProjectionSettings& settings, const MapPlan& plan, ThoughtId thought,
                 int64_t first, int64_t count, PointTable& out) {
    const StateRows rows = desk.graph.path_rows(thought, desk.graph.at(thought).prefix + first, count);
    if (!rows.has_hidden())
        throw InputError("the hidden states of thought " + std::to_string(thought) +
                         " are not in memory; show it, and they are computed again");
    const bool latents = settings.source == ProjectionSource::latents;
    const at::Tensor values = latents ? desk.need_sidecar().hidden().encode(rows.hidden) : rows.hidden;
    std::vector<at::Tensor> parts;
    for (size_t i = 0; i < plan.parts.size(); ++i) {
        const int64_t width = plan.columns[plan.stacked ? 0 : i].columns;
        parts.push_back(values.select(1, plan.parts[i]).slice(1, 0, width).to(at::kFloat));
    }
    const at::Tensor joined = (plan.stacked ? at::stack(parts, 1).flatten(0, 1) : at::cat(parts, 1)).contiguous();
    const auto* data = joined.const_data_ptr<float>();
    out.values.insert(out.values.end(), data, data + joined.numel());
    out.rows += joined.size(0);
    out.columns = joined.size(1);
}

namespace {

ProjectionPoint point_of(const Desk& desk, ThoughtId id, int64_t own) {
    const Thought& thought = desk.graph.at(id);
    const TokenStats& stats = thought.stats[static_cast<size_t>(own)];
    ProjectionPoint point;
    point.thought = id;
    point.position = thought.prefix + own;
    point.id = thought.tokens[static_cast<size_t>(own)];
    point.log_probability = stats.log_probability;
    point.entropy = stats.entropy;
    point.anomaly = stats.anomaly;
    point.hidden_fvu = stats.hidden_fvu;
    point.text = token_text(desk, point.id);
    return point;
}

}  // namespace

void gather_points(const Desk& desk, const MapPlan& plan, ThoughtId thought, int64_t first, int64_t count,
                   std::vector<ProjectionPoint>& out) {
    for (int64_t own = first; own < first + count; ++own) {
        ProjectionPoint point = point_of(desk, thought, own);
        if (!plan.stacked) out.push_back(std::move(point));
        if (!plan.stacked) continue;
        for (const int64_t part : plan.parts) {
            point.part = static_cast<int32_t>(part);
            out.push_back(point);
        }
    }
}

}  // namespace savepoint
