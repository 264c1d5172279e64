#pragma once

#include "views/frame.h"

namespace savepoint::views {

// Menu entries, one for each codec that a thought can be kept as z by: the sidecar's and those that were compared.
void keep_as_z_entries(Frame& frame, ThoughtId thought);
// Why a thought cannot be kept as z by the sidecar; empty: it can.
std::string why_not_by_sidecar(const Snapshot& snapshot, ThoughtId thought);

}  // namespace savepoint::views
