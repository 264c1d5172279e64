#include "core/sidecar/run_planes.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/quantizer.h"

namespace savepoint {

namespace {

constexpr int64_t kMostLayers = 4096, kMostWidth = 1 << 20;  // far above any model; keeps products in 64 bits

const at::Tensor& tensor_of(const StateRows& rows, Plane plane) {
    return plane == Plane::hidden ? rows.hidden : plane == Plane::key ? rows.key : rows.value;
}

std::vector<int64_t> sizes_of(const StateShape& shape, Plane plane, int64_t tokens) {
    if (plane == Plane::hidden) return {tokens, shape.layers, shape.d_model};
    return {tokens, shape.layers, shape.kv_heads, shape.head_dim};
}

at::Tensor checked(const CodedRun& run, const StateShape& shape, Plane plane) {
    const at::Tensor& rows = tensor_of(run.rows, plane);
    const std::string what = to_string(plane);
    if (!rows.defined()) throw InputError(what + ": was not kept; compute the rows of this run first");
    const auto tokens = static_cast<int64_t>(run.tokens.size());
    if (rows.sizes() != at::IntArrayRef(sizes_of(shape, plane, tokens)))
        throw InputError(what + ": rows are not those of " + std::to_string(tokens) +
                         " tokens of the model that this codec was made for");
    require_finite(rows, what.c_str());
    return rows.to(at::kFloat).reshape({tokens, shape.layers, width_of(shape, plane)}).contiguous();
}

}  // namespace

StateShape shape_of(const ModelConfig& config) {
    return {config.layers, config.d_model, config.kv_heads, config.head_dim};
}

void save_shape(const StateShape& shape, nlohmann::json& settings) {
    settings["layers"] = shape.layers;
    settings["d_model"] = shape.d_model;
    settings["kv_heads"] = shape.kv_heads;
    settings["head_dim"] = shape.head_dim;
}

StateShape load_shape(const Fields& settings) {
    return {settings.integer("layers", 1, kMostLayers), settings.integer("d_model", 1, kMostWidth),
            settings.integer("kv_heads", 1, kMostLayers), settings.integer("head_dim", 1, kMostLayers)};
}

std::string to_string(Plane plane) { return plane == Plane::hidden ? "hidden" : plane == Plane::key ? "key" : "value"; }

std::vector<Plane> planes_of(CodedPart part) {
    if (part == CodedPart::hidden) return {Plane::hidden};
    if (part == CodedPart::kv) return {Plane::key, Plane::value};
    return {Plane::hidden, Plane::key, Plane::value};
}

int64_t width_of(const StateShape& shape, Plane plane) {
    return plane == Plane::hidden ? shape.d_model : shape.kv_dim();
}

std::vector<at::Tensor> checked_planes(const CodedRun& run, const StateShape& shape, CodedPart part) {
    std::vector<at::Tensor> planes;
    for (const Plane plane : planes_of(part)) planes.push_back(checked(run, shape, plane));
    return planes;
}

StateRows rows_from(const std::vector<at::Tensor>& planes, const StateShape& shape, CodedPart part) {
    StateRows rows;
    size_t next = 0;
    for (const Plane plane : planes_of(part)) {
        const at::Tensor& from = planes[next++];
        at::Tensor& to = plane == Plane::hidden ? rows.hidden : plane == Plane::key ? rows.key : rows.value;
        to = from.reshape(sizes_of(shape, plane, from.size(0))).contiguous();
    }
    if (rows.hidden.defined()) rows.last = rows.hidden.select(1, shape.layers - 1).contiguous();
    return rows;
}

void save_part(CodedPart part, nlohmann::json& settings) { settings["part"] = to_string(part); }

CodedPart load_part(const Fields& settings) {
    const std::string part = settings.text("part");
    for (const CodedPart each : {CodedPart::hidden, CodedPart::kv, CodedPart::full})
        if (to_string(each) == part) return each;
    settings.refuse("part", "is " + part + "; one of hidden, kv, full");
}

void require_kind(const Fields& settings, const std::string& kind) {
    if (settings.text("kind") != kind) settings.refuse("kind", "is not " + kind + "; choose another file");
}

}  // namespace savepoint
