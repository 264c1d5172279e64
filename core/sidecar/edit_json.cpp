#include <array>

#include "core/model/error.h"
#include "core/sidecar/latent_edit.h"

namespace savepoint {

namespace {

constexpr std::array kPartNames = {"hidden", "key", "value", "all"};
constexpr std::array kKindNames = {"set", "zero", "noise", "copy", "lerp", "slerp"};

template <typename Enum, size_t N>
Enum named(const std::array<const char*, N>& names, const std::string& name, const char* field) {
    for (size_t i = 0; i < N; ++i) {
        if (name == names[i]) return static_cast<Enum>(i);
    }
    throw InputError(std::string("edit: ") + field + " is \"" + name + "\", which this Savepoint does not know");
}

template <typename T>
void read(const nlohmann::json& in, const char* field, T& value) {
    const auto found = in.find(field);
    if (found == in.end()) return;
    const bool fits = std::is_same_v<T, std::string> ? found->is_string()
                      : std::is_floating_point_v<T>  ? found->is_number()
                      : std::is_unsigned_v<T>        ? found->is_number_integer() &&
                                                    (found->is_number_unsigned() || found->template get<int64_t>() >= 0)
                                              : found->is_number_integer();
    if (!fits) throw InputError(std::string("edit: ") + field + " has the wrong type");
    if (std::is_signed_v<T> && std::is_integral_v<T> && found->is_number_unsigned() &&
        found->template get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        throw InputError(std::string("edit: ") + field + " is too large");
    }
    value = found->template get<T>();
}

}  // namespace

std::string to_string(LatentPart part) { return kPartNames.at(static_cast<size_t>(part)); }
std::string to_string(EditKind kind) { return kKindNames.at(static_cast<size_t>(kind)); }

void to_json(nlohmann::json& out, const LatentEdit& edit) {
    out = {{"kind", to_string(edit.kind)},
           {"part", to_string(edit.part)},
           {"first_token", edit.first_token},
           {"last_token", edit.last_token},
           {"group", edit.group},
           {"block", edit.block},
           {"component", edit.component},
           {"amount", edit.amount},
           {"seed", edit.seed},
           {"source_thought", edit.source_thought},
           {"source_token", edit.source_token}};
}

void from_json(const nlohmann::json& in, LatentEdit& edit) {
    if (!in.is_object()) throw InputError("edit: is not an object");
    std::string kind = to_string(edit.kind), part = to_string(edit.part);
    read(in, "kind", kind);
    read(in, "part", part);
    edit.kind = named<EditKind>(kKindNames, kind, "kind");
    edit.part = named<LatentPart>(kPartNames, part, "part");
    read(in, "first_token", edit.first_token);
    read(in, "last_token", edit.last_token);
    read(in, "group", edit.group);
    read(in, "block", edit.block);
    read(in, "component", edit.component);
    read(in, "amount", edit.amount);
    read(in, "seed", edit.seed);
    read(in, "source_thought", edit.source_thought);
    read(in, "source_token", edit.source_token);
}

}  // namespace savepoint
