#pragma once

#include <memory>

#include "core/workbench/snapshot.h"

namespace savepoint::test {

// A made-up session with every part filled in, as a 135M model and a fitted sidecar would give: 30 layers,
// 9 heads, 3 KV heads, 8 latent groups of 128 components, a 60-token path over several thoughts. The same
// values each time.
std::shared_ptr<Snapshot> sample_snapshot();

// What a new user sees: a model being loaded, nothing else.
std::shared_ptr<Snapshot> empty_snapshot();

// A path whose tokens are of many scripts, with emoji, unknown bytes, a very long token and control characters.
std::shared_ptr<Snapshot> scripts_snapshot();

// For frame times: a path of `tokens` tokens, and a graph of `thoughts` thoughts.
std::shared_ptr<Snapshot> large_snapshot(int64_t tokens, int64_t thoughts);

}  // namespace savepoint::test
