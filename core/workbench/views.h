#pragma once

#include <memory>

#include "core/state/thought_graph.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;
struct LoadedModel;

// Plain structs for the snapshot, made from what the desk holds.
ModelView model_view(const LoadedModel& model);
SidecarView sidecar_view(const Desk& desk);
TokenView token_view(const Desk& desk, const Thought& thought, int64_t index);
ThoughtView thought_view(const Desk& desk, const Thought& thought);
std::shared_ptr<const LatentView> latent_view(const Desk& desk);  // null: no sidecar, selection or rows

std::string token_text(const Desk& desk, TokenId id);  // displayable

}  // namespace savepoint
