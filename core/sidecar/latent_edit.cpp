#include "core/sidecar/latent_edit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/model/error.h"
#include "core/sidecar/noise.h"
#include "core/sidecar/quantizer.h"

namespace savepoint {

namespace {

// One row of a part of z that an edit reaches: a group of the hidden part, or a block of keys or values.
struct Slot {
    LatentPart part;
    int64_t index;
    int64_t components;
    at::Tensor mean, std;  // [components]
};

[[noreturn]] void refuse(const char* field, int64_t value, const std::string& allowed) {
    throw InputError(std::string("edit: ") + field + " is " + std::to_string(value) + "; " + allowed);
}

// Of a joint sidecar all of z is the hidden part.
bool reaches(const Sidecar& sidecar, const LatentEdit& edit, LatentPart part) {
    if (!sidecar.joint()) return edit.part == part || edit.part == LatentPart::all;
    if (edit.part == LatentPart::key || edit.part == LatentPart::value)
        throw InputError("edit: part is " + to_string(edit.part) +
                         "; this sidecar has one z for hidden states, keys and values: part hidden, or all");
    return part == LatentPart::hidden;
}

const LayerGroup& group_of(const Sidecar& sidecar, const LatentEdit& edit) {
    const auto& groups = sidecar.hidden().groups();
    if (edit.group < 0 || edit.group >= static_cast<int64_t>(groups.size())) {
        refuse("group", edit.group, "this sidecar has " + std::to_string(groups.size()));
    }
    return groups[static_cast<size_t>(edit.group)];
}

std::vector<int64_t> blocks_of(const Sidecar& sidecar, const LatentEdit& edit) {
    const LayerGroup& group = group_of(sidecar, edit);
    std::vector<int64_t> blocks;
    if (edit.block >= 0) {
        if (edit.block < group.first_block || edit.block > group.last_block) {
            refuse("block", edit.block, "group " + std::to_string(edit.group) + " is " + group.label());
        }
        return {edit.block};
    }
    for (int64_t block = group.first_block; block <= group.last_block; ++block) blocks.push_back(block);
    return blocks;
}

Slot hidden_slot(const Sidecar& sidecar, int64_t group) {
    const HiddenCodec& codec = sidecar.hidden();
    const int64_t components = codec.components(group);
    return {LatentPart::hidden, group, components, codec.component_mean()[group].slice(0, 0, components),
            codec.component_std()[group].slice(0, 0, components)};
}

Slot block_slot(const Sidecar& sidecar, LatentPart part, int64_t block) {
    const KvCodec& codec = sidecar.kv();
    if (part == LatentPart::key)
        return {part, block, codec.key_components(), codec.key_mean()[block], codec.key_std()[block]};
    return {part, block, codec.value_components(), codec.value_mean()[block], codec.value_std()[block]};
}

std::vector<Slot> slots_of(const Sidecar& sidecar, const LatentEdit& edit) {
    std::vector<Slot> slots;
    const std::vector<int64_t> blocks = blocks_of(sidecar, edit);
    if (reaches(sidecar, edit, LatentPart::hidden)) slots.push_back(hidden_slot(sidecar, edit.group));
    for (const LatentPart part : {LatentPart::key, LatentPart::value}) {
        if (!reaches(sidecar, edit, part)) continue;
        for (const int64_t block : blocks) slots.push_back(block_slot(sidecar, part, block));
    }
    return slots;
}

at::Tensor& part_of(Latent& latent, LatentPart part) {
    at::Tensor& tensor = part == LatentPart::hidden ? latent.hidden
                         : part == LatentPart::key  ? latent.key
                                                    : latent.value;
    if (!tensor.defined())
        throw InputError("edit: part " + to_string(part) + " was not kept of this thought; replay it first");
    return tensor;
}

// Directions turn on the great circle about the mean, lengths change linearly, so that the midpoint of two typical
// states is a typical state (a straight line passes too close to the mean). Shoemake 1985, "Animating rotation with
// quaternion curves". Opposite or vanishing directions have no circle: a straight line then.
at::Tensor slerp(const at::Tensor& a, const at::Tensor& b, const at::Tensor& mean, double weight) {
    const at::Tensor u = (a - mean).to(at::kDouble), v = (b - mean).to(at::kDouble);
    const double length_u = u.norm().item<double>(), length_v = v.norm().item<double>();
    const at::Tensor line = u + weight * (v - u);
    const double cosine = at::dot(u, v).item<double>() / std::max(length_u * length_v, 1e-300);
    const double angle = std::acos(std::clamp(cosine, -1.0, 1.0));
    const double sine = std::sin(angle);
    if (length_u == 0 || length_v == 0 || sine < 1e-6) return (line + mean).to(at::kFloat);
    const at::Tensor direction =
        (std::sin((1 - weight) * angle) * u / length_u + std::sin(weight * angle) * v / length_v) / sine;
    const double length = length_u + weight * (length_v - length_u);
    return (direction * length + mean).to(at::kFloat);
}

void add_noise(at::Tensor row, const LatentEdit& edit, const Slot& slot, int64_t token) {
    const at::Tensor std = slot.std.contiguous();
    const auto part = static_cast<uint64_t>(slot.part);
    const int64_t first = std::max<int64_t>(edit.component, 0);
    const int64_t end = edit.component < 0 ? slot.components : edit.component + 1;
    for (int64_t c = first; c < end; ++c) {
        const double normal = keyed_normal({edit.seed, static_cast<uint64_t>(token), part,
                                            static_cast<uint64_t>(slot.index), static_cast<uint64_t>(c)});
        row[c] += edit.amount * normal * std[c].item<double>();
    }
}

bool needs_source(EditKind kind) { return kind == EditKind::copy || kind == EditKind::lerp || kind == EditKind::slerp; }

// row: the slot's own components; other: those of the source.
void apply_to_row(at::Tensor row, const LatentEdit& edit, const Slot& slot, const at::Tensor& other, int64_t token) {
    const bool one = edit.component >= 0;
    const auto chosen = [&](const at::Tensor& all) {
        return one ? all.slice(0, edit.component, edit.component + 1) : all;
    };
    at::Tensor target = chosen(row);
    switch (edit.kind) {
        case EditKind::set:
            target.copy_(chosen(slot.mean) + edit.amount * chosen(slot.std));
            break;
        case EditKind::zero:
            target.zero_();
            break;
        case EditKind::noise:
            add_noise(row, edit, slot, token);
            break;
        case EditKind::copy:
            target.copy_(chosen(other));
            break;
        case EditKind::lerp:
            target.copy_((1 - edit.amount) * target + edit.amount * chosen(other));
            break;
        case EditKind::slerp:
            target.copy_(slerp(row, other, slot.mean, edit.amount));
            break;
    }
}

void check_edit(const LatentEdit& edit, const std::vector<Slot>& slots, int64_t first_position, int64_t tokens) {
    const int64_t end = first_position + tokens;
    const std::string range =
        "tokens " + std::to_string(first_position) + " to " + std::to_string(end - 1) + " are there";
    if (edit.first_token < first_position || edit.first_token >= end) refuse("first_token", edit.first_token, range);
    if (edit.last_token < edit.first_token || edit.last_token >= end) refuse("last_token", edit.last_token, range);
    for (const Slot& slot : slots) {
        if (edit.component < -1 || edit.component >= slot.components) {
            refuse("component", edit.component,
                   to_string(slot.part) + " has " + std::to_string(slot.components) + ", or -1 for all");
        }
    }
    if (edit.kind == EditKind::set && edit.component < 0)
        refuse("component", edit.component, "set takes one component");
    if (edit.kind == EditKind::slerp && edit.component >= 0)
        refuse("component", edit.component, "slerp takes all components (-1)");
    if (!std::isfinite(edit.amount)) throw InputError("edit: amount is not finite");
    const bool weight = edit.kind == EditKind::lerp || edit.kind == EditKind::slerp;
    if (weight && (edit.amount < 0 || edit.amount > 1)) {
        throw InputError("edit: amount is " + std::to_string(edit.amount) + "; a weight from 0 to 1");
    }
}

Latent source_of(const LatentEdit& edit, const SourceLatent& source) {
    if (!source) throw InputError("edit: source_thought has no latents to take from");
    Latent latent = source(edit.source_thought, edit.source_token);
    if (latent.tokens() != 1)
        throw InputError("edit: source_token " + std::to_string(edit.source_token) + " is not there");
    return latent;
}

void apply_edit(Latent& latent, const Sidecar& sidecar, const LatentEdit& edit, int64_t first_position,
                const SourceLatent& source) {
    const std::vector<Slot> slots = slots_of(sidecar, edit);
    check_edit(edit, slots, first_position, latent.tokens());
    Latent from;
    if (needs_source(edit.kind)) from = source_of(edit, source);
    for (int64_t token = edit.first_token; token <= edit.last_token; ++token) {
        for (const Slot& slot : slots) {
            const at::Tensor row = part_of(latent, slot.part)[token - first_position][slot.index];
            at::Tensor other;
            if (needs_source(edit.kind)) other = part_of(from, slot.part)[0][slot.index].slice(0, 0, slot.components);
            apply_to_row(row.slice(0, 0, slot.components), edit, slot, other, token);
        }
    }
}

}  // namespace

Latent apply_edits(const Sidecar& sidecar, const Latent& latent, int64_t first_position,
                   const std::vector<LatentEdit>& edits, const SourceLatent& source) {
    Latent edited = latent.clone();
    for (const LatentEdit& edit : edits) apply_edit(edited, sidecar, edit, first_position, source);
    for (const at::Tensor* part : {&edited.hidden, &edited.key, &edited.value}) {
        if (part->defined()) require_finite(*part, "edited latent");
    }
    return edited;
}

std::vector<TouchedGroup> touched(const Sidecar& sidecar, const std::vector<LatentEdit>& edits, int64_t position) {
    struct Parts {
        bool hidden = false;
        std::set<int64_t> blocks;
    };
    std::map<int64_t, Parts> found;
    for (const LatentEdit& edit : edits) {
        if (position < edit.first_token || position > edit.last_token) continue;
        const std::vector<int64_t> blocks = blocks_of(sidecar, edit);
        Parts& parts = found[edit.group];
        if (reaches(sidecar, edit, LatentPart::hidden)) parts.hidden = true;
        if (reaches(sidecar, edit, LatentPart::key) || reaches(sidecar, edit, LatentPart::value))
            parts.blocks.insert(blocks.begin(), blocks.end());
        // A joint z of a group gives keys and values to all its blocks but the first.
        if (sidecar.joint())
            for (int64_t block = group_of(sidecar, edit).first_block + 1; block <= group_of(sidecar, edit).last_block;
                 ++block)
                parts.blocks.insert(block);
    }
    std::vector<TouchedGroup> groups;
    for (const auto& [group, parts] : found) {
        groups.push_back({group, parts.hidden, !parts.blocks.empty(), {parts.blocks.begin(), parts.blocks.end()}});
    }
    return groups;
}

namespace {

void decode_joint(RowEdit& edit, const Sidecar& sidecar, const Latent& one, const std::vector<TouchedGroup>& groups) {
    for (const TouchedGroup& group : groups)
        for (const JointCodec::BlockRows& rows : sidecar.joint()->decode_group_kv(one.hidden, group.group))
            edit.kv.push_back({rows.block, rows.key[0].clone(), rows.value[0].clone()});
}

void decode_blocks(RowEdit& edit, const Sidecar& sidecar, const Latent& one, const std::set<int64_t>& blocks) {
    if (blocks.empty()) return;
    const at::Tensor keys = sidecar.kv().decode_keys(one.key), values = sidecar.kv().decode_values(one.value);
    for (const int64_t block : blocks) edit.kv.push_back({block, keys[0][block].clone(), values[0][block].clone()});
}

}  // namespace

RowEdit decode_row(const Sidecar& sidecar, const Latent& latent, int64_t row, int64_t position,
                   const std::vector<TouchedGroup>& groups) {
    if (row < 0 || row >= latent.tokens()) refuse("row", row, "the latent has " + std::to_string(latent.tokens()));
    const Latent one = latent.slice(row, 1);
    RowEdit edit;
    edit.position = position;
    int64_t highest = -1;
    std::set<int64_t> blocks;
    for (const TouchedGroup& group : groups) {
        if (group.hidden) highest = std::max(highest, group.group);
        if (group.kv) blocks.insert(group.blocks.begin(), group.blocks.end());
    }
    for (const int64_t block : blocks) sidecar.group_of_block(block);
    if (highest >= 0) {
        const at::Tensor rows = sidecar.hidden().decode_group(one.hidden, highest);
        edit.hidden_block = sidecar.hidden().groups()[static_cast<size_t>(highest)].last_block;
        edit.hidden = rows[0][rows.size(1) - 1].clone();
    }
    if (sidecar.joint())
        decode_joint(edit, sidecar, one, groups);
    else
        decode_blocks(edit, sidecar, one, blocks);
    return edit;
}

}  // namespace savepoint
