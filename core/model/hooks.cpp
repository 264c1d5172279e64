#include "core/model/hooks.h"

#include <array>
#include <charconv>
#include <string_view>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr std::array kBlockHooks = {"hook_resid_pre",  "attn.hook_q",     "attn.hook_k",       "attn.hook_v",
                                    "attn.hook_rot_q", "attn.hook_rot_k", "attn.hook_pattern", "attn.hook_z",
                                    "hook_attn_out",   "hook_resid_mid",  "hook_mlp_out",      "hook_resid_post"};

bool known_name(std::string_view name, int64_t layers) {
    if (name == "hook_embed" || name == "ln_final.hook_normalized") return true;
    constexpr std::string_view prefix = "blocks.";
    if (!name.starts_with(prefix)) return false;
    name.remove_prefix(prefix.size());
    int64_t layer = -1;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), layer);
    if (problem != std::errc() || layer < 0 || layer >= layers) return false;
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (!name.starts_with('.')) return false;
    name.remove_prefix(1);
    for (const std::string_view hook : kBlockHooks)
        if (name == hook) return true;
    return false;
}

}  // namespace

void Hooks::add(const std::string& name, Hook hook) { hooks_[name].push_back(std::move(hook)); }

void Hooks::read(const std::string& name, std::function<void(const at::Tensor&)> reader) {
    add(name, [reader = std::move(reader)](const at::Tensor& activation) {
        reader(activation);
        return at::Tensor();
    });
}

at::Tensor Hooks::run(const std::string& name, at::Tensor activation) const {
    const auto found = hooks_.find(name);
    if (found == hooks_.end()) return activation;
    for (const Hook& hook : found->second) {
        at::Tensor replacement = hook(activation);
        if (!replacement.defined()) continue;
        if (replacement.sizes() != activation.sizes())
            throw InputError("hook on " + name + ": the replacement has another shape than the activation");
        activation = replacement.to(activation.options());
    }
    return activation;
}

void Hooks::check_names(int64_t layers) const {
    for (const auto& [name, hooks] : hooks_)
        if (!known_name(name, layers))
            throw InputError("hook " + name + ": a model of " + std::to_string(layers) +
                             " layers has no such activation");
}

}  // namespace savepoint
