#include "core/workbench/attended_rows.h"

#include <ATen/ATen.h>

#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr size_t kFreshQueries = 64;

at::Tensor path_part(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens, at::Tensor StateRows::*part) {
    std::vector<at::Tensor> parts;
    for (const PathSpan& span : graph.path(thought, tokens))
        parts.push_back((graph.at(span.thought).rows.*part).narrow(0, 0, span.count));
    return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace

at::Tensor path_keys(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens) {
    return path_part(graph, thought, tokens, &StateRows::key);
}

at::Tensor path_values(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens) {
    return path_part(graph, thought, tokens, &StateRows::value);
}

AttendedRows attended_rows(const Desk& desk, ThoughtId thought, int64_t position, int64_t count, bool rotary,
                           bool queries, const at::Tensor& known_query) {
    const StateRows rows = desk.graph.path_rows(thought, position, count);
    AttendedRows out{known_query, rows.key, rows.value};
    if (queries && !known_query.defined()) {
        const std::vector<TokenId> ids = desk.graph.path_tokens(thought);
        out.query = desk.transformer().queries(
            rows, std::span(ids).subspan(static_cast<size_t>(position), static_cast<size_t>(count)));
    }
    if (!rotary) return out;
    if (queries) out.query = desk.transformer().rotate(out.query, position);
    out.key = desk.transformer().rotate(out.key, position);
    return out;
}

void FreshQueries::add(ThoughtId thought, int64_t position, at::Tensor query) {
    if (thought != thought_ || position != first_ + static_cast<int64_t>(kept_.size())) {
        kept_.clear();
        thought_ = thought, first_ = position;
    }
    kept_.push_back(std::move(query));
    if (kept_.size() <= kFreshQueries) return;
    kept_.pop_front();
    ++first_;
}

at::Tensor FreshQueries::find(ThoughtId thought, int64_t position, int64_t count) const {
    const int64_t begin = position - first_;
    if (thought != thought_ || begin < 0 || begin + count > static_cast<int64_t>(kept_.size())) return {};
    return at::cat(std::vector<at::Tensor>(kept_.begin() + begin, kept_.begin() + begin + count));
}

}  // namespace savepoint
