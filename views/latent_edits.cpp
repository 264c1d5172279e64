#include "views/latent_edits.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace savepoint::views {
namespace {

bool same_place(const LatentEdit& a, const LatentEdit& b) {
    return a.part == b.part && a.group == b.group && a.block == b.block && a.component == b.component &&
           a.first_token == b.first_token && a.last_token == b.last_token;
}

// Linear and spherical mixing are one operation with two formulas: the newer replaces the older.
bool same_kind(EditKind a, EditKind b) {
    const auto mixes = [](EditKind kind) { return kind == EditKind::lerp || kind == EditKind::slerp; };
    return a == b || (mixes(a) && mixes(b));
}

bool covers(const LatentEdit& edit, const EditScope& scope, int64_t block, int64_t component, int64_t token) {
    if (edit.group != scope.group) return false;
    if (edit.part != LatentPart::all && edit.part != scope.part) return false;
    if (scope.part != LatentPart::hidden && edit.block >= 0 && edit.block != block) return false;
    if (edit.component >= 0 && edit.component != component) return false;
    return edit.first_token <= token && token <= edit.last_token;
}

std::string part_label(const LatentEdit& edit) {
    if (edit.part == LatentPart::hidden) return "hidden";
    if (edit.part == LatentPart::all) return "all parts";
    const std::string part = edit.part == LatentPart::key ? "keys" : "values";
    return edit.block >= 0 ? part + " of block " + std::to_string(edit.block) : part;
}

std::string format(const char* pattern, double value) {
    char text[64];
    std::snprintf(text, sizeof text, pattern, value);
    return text;
}

std::string source_label(const LatentEdit& edit) {
    return "token " + std::to_string(edit.source_token) + " of thought " + std::to_string(edit.source_thought);
}

std::string what_happens(const LatentEdit& edit) {
    switch (edit.kind) {
        case EditKind::set:
            return "#" + std::to_string(edit.component) + " = " + format("%+.2f sd", edit.amount);
        case EditKind::zero:
            return "zeroed";
        case EditKind::noise:
            return format("+ noise %.2f sd", edit.amount) + ", seed " + std::to_string(edit.seed);
        case EditKind::copy:
            return "copied from " + source_label(edit);
        case EditKind::lerp:
            return format("mixed %.2f", edit.amount) + " towards " + source_label(edit);
        case EditKind::slerp:
            return format("turned %.2f", edit.amount) + " towards " + source_label(edit);
    }
    return {};
}

}  // namespace

LatentEdit make_edit(EditKind kind, const EditScope& scope) {
    LatentEdit edit;
    edit.kind = kind;
    edit.part = scope.part, edit.group = scope.group;
    edit.block = scope.part == LatentPart::key || scope.part == LatentPart::value ? scope.block : -1;
    edit.first_token = scope.first_token, edit.last_token = scope.last_token;
    return edit;
}

void put(std::vector<LatentEdit>& edits, const LatentEdit& edit) {
    std::erase_if(edits,
                  [&](const LatentEdit& old) { return same_kind(old.kind, edit.kind) && same_place(old, edit); });
    edits.push_back(edit);
}

bool reset_component(std::vector<LatentEdit>& edits, const EditScope& scope, int64_t component) {
    LatentEdit wanted = make_edit(EditKind::set, scope);
    wanted.component = component;
    return std::erase_if(edits, [&](const LatentEdit& old) {
               return old.kind == EditKind::set && old.part == wanted.part && old.group == wanted.group &&
                      old.block == wanted.block && old.component == component;
           }) > 0;
}

std::optional<float> edited_value(const std::vector<LatentEdit>& edits, const EditScope& scope, int64_t block_of_slider,
                                  int64_t component, int64_t token) {
    std::optional<float> value;
    for (const LatentEdit& edit : edits) {
        if (!covers(edit, scope, block_of_slider, component, token)) continue;
        if (edit.kind == EditKind::set)
            value = static_cast<float>(edit.amount);
        else if (edit.kind == EditKind::zero)
            value = 0.0f;
        else
            value = NAN;
    }
    return value;
}

bool touches_group(const std::vector<LatentEdit>& edits, int64_t group) {
    return std::ranges::any_of(edits, [&](const LatentEdit& edit) { return edit.group == group; });
}

bool touches_part(const std::vector<LatentEdit>& edits, int64_t group, LatentPart part) {
    return std::ranges::any_of(edits, [&](const LatentEdit& edit) {
        return edit.group == group && (edit.part == part || edit.part == LatentPart::all);
    });
}

std::string group_label(const SidecarView& sidecar, int64_t group) {
    if (group < 0 || group >= static_cast<int64_t>(sidecar.groups.size())) return "group " + std::to_string(group);
    return sidecar.groups[group].label;
}

std::string describe(const LatentEdit& edit, const SidecarView& sidecar) {
    std::string text = group_label(sidecar, edit.group) + " ";
    if (!sidecar.joint) text += part_label(edit) + " ";
    text += what_happens(edit);
    if (edit.last_token > edit.first_token)
        text += ", tokens " + std::to_string(edit.first_token) + "-" + std::to_string(edit.last_token);
    return text;
}

}  // namespace savepoint::views
