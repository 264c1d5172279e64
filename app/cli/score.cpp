#include <cstdio>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/choice_fit.h"
#include "core/analysis/pruned_states.h"
#include "core/analysis/reference_sequences.h"
#include "core/model/error.h"
#include "core/workbench/marks.h"

namespace savepoint::cli {

namespace {

struct ScoreArguments {
    std::string prompt, phi = "elu1", form, detector = "mahalanobis", rotary = "before", prune = "none";
    PhiSettings settings;
    bool chat = false;
    double threshold = kMarkThreshold;

    AnomalyChoice choice() const {
        AnomalyChoice choice;
        choice.phi = settings;
        choice.phi.kind = phi_from(phi);
        choice.phi.rotary = rotary == "after";
        choice.form = form.empty() ? default_form(choice.phi.kind) : form_from(form);
        choice.detector = detector_from(detector);
        return choice;
    }
};

// The stored one; else it is fitted on the sidecar's text and kept, which standard error says.
std::shared_ptr<const AnomalyReference> reference_for(const Common& common, const OpenModel& model,
                                                      const AnomalyChoice& choice) {
    const std::string sha256 = model.weights->sha256(), folder = fit_folder(common, sha256);
    const ReferenceFit::Result fit = stored_fit(common, model.weights);
    if (const auto fitted = reference_of(fit, choice)) return fitted;
    if (const auto stored = load_reference(folder, choice, sha256, fit.sidecar->hash())) return stored;
    ChoiceFit job(model.transformer, model.tokenizer, choice, folder, sha256,
                  reference_text_settings(fit.sidecar->info()));
    std::cerr << "savepoint: no reference for " << to_string(choice) << " yet: fitting it, once\n";
    ProgressLine line;
    for (; !job.done(); job.step()) line.show(job.progress(), job.stage());
    line.clear();
    save_reference(folder, *job.result(), sha256, fit.sidecar->hash());
    std::cerr << "savepoint: stored it in " << folder << "\n";
    return job.result();
}

struct Scored {
    AnomalyScores full, pruned;  // pruned: undefined where nothing is pruned
    int64_t masked = 0, pruned_masked = 0;
};

Scored scored(const OpenModel& model, const std::vector<TokenId>& ids,
              const std::shared_ptr<const AnomalyReference>& reference, const Pruning& pruning) {
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()));
    const StateRows rows = model.transformer.prefill_chunked(cache, ids, 128).rows;
    at::Tensor query = model.transformer.queries(rows, ids), key = rows.key;
    if (reference->choice().phi.rotary)
        query = model.transformer.rotate(query, 0), key = model.transformer.rotate(key, 0);
    const FormRows features = reference->stream().next(query, key, rows.value);
    Scored out;
    out.full = reference->score(features.values, 0);
    out.masked = features.masked.sum().item<int64_t>();
    if (pruning.kind == PruningKind::none) return out;
    const FormRows kept = PrunedStates(reference, pruning).next(model.transformer, rows, ids, rows.key, rows.value);
    out.pruned = reference->score(kept.values, 0);
    out.pruned_masked = kept.masked.sum().item<int64_t>();
    return out;
}

nlohmann::json rows_of(const at::Tensor& values) {  // [a, b] -> [[...], ...]
    nlohmann::json rows = nlohmann::json::array();
    const at::Tensor plain = values.to(at::kFloat).contiguous();
    for (int64_t i = 0; i < plain.size(0); ++i) {
        const float* first = plain[i].data_ptr<float>();
        rows.push_back(std::vector<float>(first, first + plain[i].numel()));
    }
    return rows;
}

nlohmann::json described(const OpenModel& model, const std::vector<TokenId>& ids, const Scored& scores,
                         double threshold, bool by_head) {
    nlohmann::json tokens = nlohmann::json::array();
    for (size_t i = 0; i < ids.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        nlohmann::json token{{"id", ids[i]},
                             {"text", model.tokenizer.piece(ids[i])},
                             {"score", scores.full.token[at].item<double>()},
                             {"percentile", scores.full.token_percentile[at].item<double>()},
                             {"marked", is_marked(scores.full.token_percentile[at].item<float>(), threshold)}};
        if (by_head) token["percentile_by_layer_head"] = rows_of(scores.full.percentile[at]);
        if (scores.pruned.token.defined()) {
            token["pruned_score"] = scores.pruned.token[at].item<double>();
            token["pruned_percentile"] = scores.pruned.token_percentile[at].item<double>();
            if (by_head) token["pruned_percentile_by_layer_head"] = rows_of(scores.pruned.percentile[at]);
        }
        tokens.push_back(std::move(token));
    }
    return tokens;
}

void print(const nlohmann::json& tokens, const Scored& scores) {
    const bool pruned = scores.pruned.token.defined();
    std::cout << "percentile\tscore\t" << (pruned ? "pruned percentile\tpruned score\t" : "") << "token\tmark\n";
    for (const auto& token : tokens) {
        std::cout << token["percentile"].get<double>() << "\t" << token["score"].get<double>() << "\t";
        if (pruned)
            std::cout << token["pruned_percentile"].get<double>() << "\t" << token["pruned_score"].get<double>()
                      << "\t";
        std::cout << token["text"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                  << (token["marked"].get<bool>() ? "\tmarked" : "") << "\n";
    }
    if (scores.masked + scores.pruned_masked > 0)
        std::cout << scores.masked + scores.pruned_masked << " quotients were masked: their denominators vanished\n";
}

int score(const Common& common, const ScoreArguments& arguments) {
    const AnomalyChoice choice = arguments.choice();
    const Pruning pruning = pruning_from(arguments.prune);
    const OpenModel model(common);
    const std::vector<TokenId> ids = encode_prompt(model, arguments.prompt, arguments.chat);
    const auto reference = reference_for(common, model, choice);
    const Scored scores = scored(model, ids, reference, pruning);
    const nlohmann::json tokens = described(model, ids, scores, arguments.threshold, common.json);
    if (!common.json) {
        print(tokens, scores);
        return 0;
    }
    nlohmann::json out{{"phi", arguments.phi},
                       {"form", to_string(choice.form)},
                       {"detector", to_string(choice.detector)},
                       {"rotary", arguments.rotary},
                       {"fitted_tokens", reference->fitted_tokens()},
                       {"calibration_tokens", reference->calibration_tokens()},
                       {"threshold", arguments.threshold},
                       {"masked", scores.masked},
                       {"tokens", tokens}};
    if (pruning.kind != PruningKind::none)
        out["pruning"] = to_string(pruning), out["pruned_masked"] = scores.pruned_masked;
    print_json(out);
    return 0;
}

}  // namespace

void add_score(Registry registry) {
    auto arguments = std::make_shared<ScoreArguments>();
    CLI::App* command = add_command(registry, "score", "Anomaly scores of every token of a prompt");
    command->add_option("--prompt", arguments->prompt, "Raw text")->required();
    command->add_flag("--chat", arguments->chat, "The prompt is a user's message in the chat template");
    command
        ->add_option("--phi", arguments->phi,
                     "Feature map of the linear-attention state: identity, elu1, relu, squared_relu, exp, favor, dpfp, "
                     "hedgehog (learned first where no `savepoint phi` has)")
        ->capture_default_str();
    command->add_option("--favor-features", arguments->settings.favor_features)->check(CLI::Range(1, 4096));
    command->add_option("--dpfp-nu", arguments->settings.dpfp_nu)->check(CLI::Range(1, 16));
    command->add_option("--form", arguments->form,
                        "What is read of the state: read_out, mean_query, rows (S/n), mean (S/t), singular_values, "
                        "singular_vectors; default: read_out, of identity mean");
    command
        ->add_option("--detector", arguments->detector,
                     "mahalanobis, knn, lof, isolation_forest, pca_residual, ecod. A reference that is missing for "
                     "these choices is fitted first, and kept")
        ->capture_default_str();
    command->add_option("--rotary", arguments->rotary, "Keys and queries before or after rotary embedding")
        ->check(CLI::IsMember({"before", "after"}))
        ->capture_default_str();
    command
        ->add_option("--prune", arguments->prune,
                     "Also score the states that a pruned cache has: window:N (the last N tokens), heavy:N (the N that "
                     "received most attention), mass-weighted (all, by the attention they received)")
        ->capture_default_str();
    command->add_option("--threshold", arguments->threshold, "Anomaly percentile from which on a token is marked")
        ->check(CLI::Range(0, 100))
        ->capture_default_str();
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return score(common, *arguments); };
    });
}

}  // namespace savepoint::cli
