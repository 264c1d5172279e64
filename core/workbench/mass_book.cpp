#include "core/workbench/mass_book.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/workbench/attended_rows.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr size_t kKept = 6;

}  // namespace

void MassBook::forget(ThoughtId thought) {
    std::erase_if(paths_, [&](const Path& path) { return path.thought == thought; });
}

// The one that is furthest along this path and has nothing beside it.
const MassBook::Path* MassBook::find(const Desk& desk, ThoughtId thought) const {
    const Path* best = nullptr;
    for (const Path& path : paths_) {
        if (path.mass.tokens() > desk.graph.shared_prefix(path.thought, thought)) continue;
        if (!best || path.mass.tokens() > best->mass.tokens()) best = &path;
    }
    return best;
}

AttentionMass& MassBook::begin(const Desk& desk, ThoughtId thought) {
    const Path* known = find(desk, thought);
    Path path{thought, known ? known->mass : AttentionMass()};
    forget(thought);
    if (paths_.size() >= kKept) paths_.erase(paths_.begin());
    paths_.push_back(std::move(path));
    return paths_.back().mass;
}

bool MassBook::advance(const Desk& desk, ThoughtId thought, int64_t tokens) {
    const int64_t done = counted(desk, thought), n = std::min(tokens, desk.graph.path_length(thought) - done);
    if (n <= 0) return false;
    AttentionMass& mass = begin(desk, thought);
    const std::vector<TokenId> ids = desk.graph.path_tokens(thought);
    mass.add(desk.transformer(), desk.graph.path_rows(thought, done, n),
             std::span(ids).subspan(static_cast<size_t>(done), static_cast<size_t>(n)),
             path_keys(desk.graph, thought, done + n));
    return true;
}

int64_t MassBook::counted(const Desk& desk, ThoughtId thought) const {
    if (thought == 0) return 0;
    const Path* path = find(desk, thought);
    return path ? path->mass.tokens() : 0;
}

std::shared_ptr<const AttentionMassView> MassBook::view(const Desk& desk, ThoughtId thought) const {
    if (counted(desk, thought) == 0) return nullptr;
    const at::Tensor received = find(desk, thought)->mass.received().contiguous();
    const at::Tensor mean = received.flatten(0, 1).mean(0);
    auto view = std::make_shared<AttentionMassView>();
    view->thought = thought;
    view->layers = received.size(0), view->heads = received.size(1), view->tokens = received.size(2);
    view->mass.assign(received.const_data_ptr<float>(), received.const_data_ptr<float>() + received.numel());
    view->mean.assign(mean.const_data_ptr<float>(), mean.const_data_ptr<float>() + mean.numel());
    return view;
}

}  // namespace savepoint
