#include "core/workbench/plans.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/model/utf8.h"
#include "core/workbench/chat.h"
#include "core/workbench/desk.h"
#include "core/workbench/text.h"

namespace savepoint {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 20;

void check_settings(const GenerateSettings& settings) {
    if (settings.max_tokens < 0 || settings.max_tokens > kMostTokens) {
        throw InputError("max_tokens is " + std::to_string(settings.max_tokens) + "; it must be from 0 to " +
                         std::to_string(kMostTokens));
    }
    sample(at::zeros({2}), settings.sampler, 0);  // the sampler checks its settings itself
}

void check_text(const std::string& what, const std::string& text) {
    if (const auto offset = first_invalid_utf8(text)) {
        throw InputError("the " + what + " is not valid UTF-8: byte " + std::to_string(*offset) +
                         " is not part of a character");
    }
}

void check_room(const Desk& desk, const GenerationPlan& plan) {
    const int64_t context = desk.transformer().config().context;
    const int64_t needed = plan.thought.prefix + static_cast<int64_t>(plan.given.size());
    if (needed > context || (needed == context && plan.given.empty())) {
        throw InputError("the path would have " + std::to_string(needed) + " tokens and the model's context holds " +
                         std::to_string(context) + "; shorten the prompt, or go on from an earlier token");
    }
}

// The parent is the thought that owns the last token before the new ones, so that the graph shows the
// branch where it leaves.
void hang_below(const Desk& desk, GenerationPlan& plan, ThoughtId path, int64_t prefix) {
    plan.thought.prefix = prefix;
    plan.thought.parent = prefix > 0 ? desk.graph.owner(path, prefix - 1).thought : desk.graph.owner(path, 0).thought;
}

bool goes_on_after(const Thought& thought, int64_t prefix) {
    const int64_t own = prefix - thought.prefix;
    return own >= thought.prompt_tokens && own < static_cast<int64_t>(thought.tokens.size());
}

// Settings that already made a continuation of the same prefix would make the same one again.
bool was_sampled_before(const Desk& desk, ThoughtId parent, int64_t prefix, const SamplerSettings& sampler) {
    const Thought& owner = desk.graph.at(parent);
    if (goes_on_after(owner, prefix) && owner.sampler == sampler) return true;
    const std::vector<ThoughtId> children = desk.graph.children(parent);
    return std::any_of(children.begin(), children.end(), [&](ThoughtId id) {
        const Thought& child = desk.graph.at(id);
        return child.prefix == prefix && child.prompt_tokens == 0 && child.sampler == sampler;
    });
}

void give_own_seed(const Desk& desk, GenerationPlan& plan) {
    SamplerSettings& sampler = plan.settings.sampler;
    if (sampler.greedy || !was_sampled_before(desk, plan.thought.parent, plan.thought.prefix, sampler)) return;
    sampler.seed += static_cast<uint64_t>(desk.graph.next_id());
}

void finish(const Desk& desk, GenerationPlan& plan) {
    check_settings(plan.settings);
    check_room(desk, plan);
    plan.thought.sampler = plan.settings.sampler;
    plan.thought.prompt_tokens = 0;
    plan.thought.complete = false;
}

void plan_branch(const Desk& desk, GenerationPlan& plan, ThoughtId path, int64_t prefix) {
    hang_below(desk, plan, path, prefix);
    plan.thought.edge = EdgeKind::continuation;
    give_own_seed(desk, plan);
    plan.thought.provenance["detail"] =
        "continued after token " + std::to_string(prefix - 1) +
        (plan.settings.sampler.greedy ? ", greedy" : ", seed " + std::to_string(plan.settings.sampler.seed));
    finish(desk, plan);
}

std::string turn_text(const Desk& desk, const command::Generate& command) {
    if (!command.chat) return command.prompt;
    if (command.after != 0) return next_turn(desk.tokenizer(), command.prompt);
    return first_turn(desk.tokenizer(), command.system, command.prompt);
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

// An answer that ended by itself already holds the token that ends its turn.
void drop_repeated_end(const Desk& desk, ThoughtId after, std::vector<TokenId>& ids) {
    const TokenId last = desk.graph.path_tokens(after).back();
    if (!ids.empty() && ids.front() == last && desk.tokenizer().ends_generation(last)) ids.erase(ids.begin());
}

// Given tokens after a replaced one: the rest of a prompt is fed again, what was generated is not.
std::vector<TokenId> rest_of_prompt(const Thought& owner, int64_t index) {
    const int64_t next = index + 1;
    if (next >= owner.prompt_tokens) return {};
    return {owner.tokens.begin() + next, owner.tokens.begin() + owner.prompt_tokens};
}

void check_token(const Desk& desk, TokenId token) {
    if (token < 0 || token >= desk.tokenizer().size()) {
        throw InputError("token id " + std::to_string(token) + " is not in the vocabulary of " +
                         std::to_string(desk.tokenizer().size()));
    }
}

}  // namespace

GenerationPlan plan(Desk& desk, const command::Generate& command) {
    desk.need_model();
    check_text("prompt", command.prompt);
    if (command.system) check_text("system prompt", *command.system);
    if (command.prompt.empty() || (command.chat && is_blank(command.prompt)))
        throw InputError("the prompt is empty; type something first");
    GenerationPlan plan;
    plan.settings = command.settings;
    if (command.after != 0) {
        hang_below(desk, plan, command.after, desk.graph.path_length(command.after));
        plan.thought.edge = EdgeKind::continuation;
    }
    const std::string text = turn_text(desk, command);
    plan.given = command.after == 0 ? desk.tokenizer().encode_start(text) : desk.tokenizer().encode(text);
    if (command.after != 0 && command.chat) drop_repeated_end(desk, command.after, plan.given);
    if (plan.given.empty()) throw InputError("the prompt holds no token");
    plan.thought.provenance = {
        {"prompt", command.prompt}, {"chat", command.chat}, {"detail", command.after == 0 ? "prompt" : "next turn"}};
    if (command.system && command.after == 0) plan.thought.provenance["system"] = *command.system;
    finish(desk, plan);
    return plan;
}

GenerationPlan plan(Desk& desk, const command::Continue& command) {
    desk.need_model();
    GenerationPlan plan;
    plan.settings = command.settings;
    plan_branch(desk, plan, command.thought, desk.graph.path_length(command.thought));
    return plan;
}

GenerationPlan plan(Desk& desk, const command::BranchHere& command) {
    desk.need_model();
    desk.locate(command.at);
    GenerationPlan plan;
    plan.settings = command.settings;
    plan_branch(desk, plan, command.at.thought, command.at.position + 1);
    return plan;
}

GenerationPlan plan(Desk& desk, const command::ReplaceToken& command) {
    desk.need_model();
    const ThoughtGraph::Owner owner = desk.locate(command.at);
    check_token(desk, command.token);
    const Thought& original = desk.graph.at(owner.thought);
    const TokenId replaced = original.tokens[static_cast<size_t>(owner.index)];
    GenerationPlan plan;
    plan.settings = command.settings;
    hang_below(desk, plan, command.at.thought, command.at.position);
    plan.thought.edge = EdgeKind::counterfactual;
    plan.look_at = command.at.position;
    plan.given = rest_of_prompt(original, owner.index);
    plan.given.insert(plan.given.begin(), command.token);
    const auto quoted = [&](TokenId id) { return "\"" + one_line(displayable(desk.tokenizer().piece(id)), 20) + "\""; };
    plan.thought.provenance = {{"replaced", replaced},
                               {"with", command.token},
                               {"position", command.at.position},
                               {"detail", "token " + std::to_string(command.at.position) + ": " + quoted(replaced) +
                                              " became " + quoted(command.token)}};
    finish(desk, plan);
    return plan;
}

GenerationPlan plan(Desk& desk, const command::ResumeEdit& command) {
    desk.need_model();
    const Sidecar& sidecar = desk.need_sidecar();
    EditedTokens tokens = edit_tokens(desk, command.at, command.edits);
    GenerationPlan plan;
    plan.settings = command.settings;
    hang_below(desk, plan, tokens.at.thought, tokens.first);
    plan.thought.edge = takes_from_another(command.edits) ? EdgeKind::counterfactual : EdgeKind::intervention;
    plan.look_at = command.at.position;
    plan.given = std::move(tokens.tokens);
    plan.edits = std::move(tokens.edited_rows);
    plan.thought.provenance = {{"edits", command.edits},
                               {"sidecar", sidecar.hash()},
                               {"at", command.at.position},
                               {"from", tokens.at.thought},
                               {"detail", describe_edits(sidecar, command.edits)}};
    finish(desk, plan);
    return plan;
}

}  // namespace savepoint
