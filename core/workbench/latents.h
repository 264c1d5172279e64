#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/analysis/projection.h"
#include "core/state/thought_graph.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// Hidden latents of tokens, kept per thought.
class LatentBook {
   public:
    void clear() { thoughts_.clear(); }
    void forget(ThoughtId thought) { thoughts_.erase(thought); }
    // Encodes at most `tokens` of the first `count` own tokens of a thought; false when they all are.
    bool advance(const Desk& desk, ThoughtId thought, int64_t count, int64_t tokens);
    int64_t encoded(ThoughtId thought) const;
    at::Tensor rows(ThoughtId thought, int64_t count) const;  // [count, groups, components]

   private:
    std::map<ThoughtId, std::vector<at::Tensor>> thoughts_;
};

struct TrajectoryChoice {
    std::vector<ThoughtId> thoughts;  // empty: the current path
    int64_t group = -1;               // -1: all, standardised
    bool operator==(const TrajectoryChoice&) const = default;
};

// The edited latent of the preview and where it started from: [1, groups, components].
struct EditPoint {
    at::Tensor from, to;
    double distance = NAN;
};

std::shared_ptr<const TrajectoryView> without_edit(TrajectoryView view);

// The picture of latents in three dimensions. The basis stays as it is while tokens come in, and is
// fitted anew when asked to.
class Trajectory {
   public:
    void clear();
    // Own tokens of thoughts that the choice shows, each once, by thought.
    static std::vector<PathSpan> spans(const Desk& desk);
    bool stale(const Desk& desk) const;  // the basis was fitted on other tokens
    bool has_basis() const { return basis_.has_value(); }
    void fit(const Desk& desk, const LatentBook& book);
    // Null without a basis. Tokens that are not encoded yet are left out.
    std::shared_ptr<const TrajectoryView> view(const Desk& desk, const LatentBook& book) const;
    // A view of this basis with the edited point in it.
    std::shared_ptr<const TrajectoryView> with_edit(const Desk& desk, TrajectoryView view, const EditPoint& edit) const;

   private:
    struct Fitted {
        int64_t group;
        std::vector<std::pair<ThoughtId, int64_t>> tokens;
        bool operator==(const Fitted&) const = default;
    };
    static Fitted wanted(const Desk& desk);
    void add_points(const Desk& desk, const LatentBook& book, const PathSpan& span, TrajectoryView& view) const;

    std::optional<PcaProjection> basis_;
    Fitted fitted_{-2, {}};
};

}  // namespace savepoint
