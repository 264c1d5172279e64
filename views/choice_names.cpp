#include "views/choice_names.h"

#include <array>

namespace savepoint::views {
namespace {

// Of an experiment's row, whose parts are words of its file; those that have no other name stay as they are.
template <typename Kind>
std::string name_of_word(const std::vector<Kind>& all, const std::string& word) {
    for (const Kind kind : all)
        if (to_string(kind) == word) return display_name(kind);
    return word;
}

std::string plain(const std::string& word) {
    constexpr std::array<std::pair<const char*, const char*>, 8> kNames{{{"log_probability", "log-probability"},
                                                                         {"last", "last token"},
                                                                         {"mean", "mean over tokens"},
                                                                         {"middle", "middle layer"},
                                                                         {"upper", "upper layer"},
                                                                         {"three", "three layers"},
                                                                         {"all", "all layers"},
                                                                         {"linear_probe", "linear probe"}}};
    for (const auto& [id, name] : kNames)
        if (word == id) return name;
    return word;
}

}  // namespace

std::string display_name(PhiKind kind) {
    switch (kind) {
        case PhiKind::identity:
            return "identity";
        case PhiKind::elu1:
            return "elu + 1";
        case PhiKind::relu:
            return "ReLU";
        case PhiKind::squared_relu:
            return "squared ReLU";
        case PhiKind::exp:
            return "exp";
        case PhiKind::favor:
            return "FAVOR+";
        case PhiKind::dpfp:
            return "DPFP";
        case PhiKind::hedgehog:
            return "Hedgehog (learned)";
    }
    return "";
}

std::string display_name(StateForm form) {
    switch (form) {
        case StateForm::read_out:
            return "read-out";
        case StateForm::mean_query:
            return "mean query";
        case StateForm::rows:
            return "rows S / n";
        case StateForm::mean:
            return "mean S / t";
        case StateForm::singular_values:
            return "singular values";
        case StateForm::singular_vectors:
            return "singular vectors";
    }
    return "";
}

std::string display_name(DetectorKind kind) {
    switch (kind) {
        case DetectorKind::mahalanobis:
            return "Mahalanobis";
        case DetectorKind::relative_mahalanobis:
            return "relative Mahalanobis";
        case DetectorKind::contrastive_mahalanobis:
            return "contrastive Mahalanobis";
        case DetectorKind::knn:
            return "kNN distance";
        case DetectorKind::lof:
            return "LOF";
        case DetectorKind::isolation_forest:
            return "isolation forest";
        case DetectorKind::pca_residual:
            return "PCA residual";
        case DetectorKind::ecod:
            return "ECOD";
    }
    return "";
}

std::string display_name(PruningKind kind) {
    switch (kind) {
        case PruningKind::none:
            return "whole cache";
        case PruningKind::window:
            return "last tokens";
        case PruningKind::heavy:
            return "heavy hitters";
        case PruningKind::mass_weighted:
            return "attention mass";
    }
    return "";
}

std::string display_name(const Pruning& pruning) {
    const bool counts = pruning.kind == PruningKind::window || pruning.kind == PruningKind::heavy;
    return display_name(pruning.kind) + (counts ? ": " + std::to_string(pruning.count) : "");
}

std::string display_name(const AnomalyChoice& choice) {
    return display_name(choice.phi.kind) + (choice.phi.rotary ? " after rotary, " : ", ") + display_name(choice.form) +
           ", " + display_name(choice.detector);
}

std::string display_name(const ExperimentRow& row) {
    const bool state = row.source == "state";
    std::string out = plain(row.source);
    for (const std::string& part :
         {name_of_word(all_phi(), row.phi), state ? name_of_word(all_forms(), row.form) : plain(row.form),
          plain(row.layers), plain(name_of_word(all_detectors(), row.detector))})
        if (!part.empty()) out += " / " + part;
    return row.equal ? out + " / " + std::to_string(row.features) + " components" : out;
}

const char* formula(PhiKind kind) {
    switch (kind) {
        case PhiKind::identity:
            return "phi(x) = x, read as phi(q) S / t";
        case PhiKind::elu1:
            return "phi(x) = elu(x) + 1 (Katharopoulos et al. 2020)";
        case PhiKind::relu:
            return "phi(x) = max(x, 0)";
        case PhiKind::squared_relu:
            return "phi(x) = max(x, 0)^2 (So et al. 2021)";
        case PhiKind::exp:
            return "phi(x) = exp(x), column by column";
        case PhiKind::favor:
            return "FAVOR+: exp(w x' - |x'|^2 / 2) / sqrt(m) for m random directions w, x' = x / d^(1/4) (Performer, "
                   "Choromanski et al. 2021)";
        case PhiKind::dpfp:
            return "DPFP: products of relu([x, -x]) with itself, shifted (Schlag et al. 2021)";
        case PhiKind::hedgehog:
            return "Hedgehog: exp([W x, -W x]), a W for every head, fitted so that linear attention mimics the model's "
                   "softmax attention (Zhang et al. 2024)";
    }
    return "";
}

const char* formula(StateForm form) {
    switch (form) {
        case StateForm::read_out:
            return "phi(q_t) S_t / phi(q_t) n_t of each query head: what linear attention would output. Signed phi "
                   "(identity): phi(q_t) S_t / t.";
        case StateForm::mean_query:
            return "The read-out of the mean of each head's queries so far, q = (q_1 + ... + q_t) / t.";
        case StateForm::rows:
            return "S_t / n_t row by row: the mean value that each feature remembers, of each KV head. Through 16 "
                   "components and the norm of what they leave.";
        case StateForm::mean:
            return "S_t / t of each KV head: the default for signed phi, whose denominators may vanish. Through 16 "
                   "components and the norm of what they leave.";
        case StateForm::singular_values:
            return "Singular values of S_t / t of each KV head, descending.";
        case StateForm::singular_vectors:
            return "First left and right singular vectors of S_t / t of each KV head.";
    }
    return "";
}

const char* formula(DetectorKind kind) {
    switch (kind) {
        case DetectorKind::mahalanobis:
            return "Mahalanobis distance from the mean, covariance shrunk after Ledoit and Wolf (2004), over the root "
                   "of the number of features.";
        case DetectorKind::knn:
            return "Euclidean distance to the 5th nearest of up to 128 reference rows of the same layer, head and "
                   "position range.";
        case DetectorKind::lof:
            return "Local Outlier Factor (Breunig et al. 2000) among up to 128 reference rows of the same layer, head "
                   "and position range.";
        case DetectorKind::isolation_forest:
            return "Isolation forest (Liu et al. 2008) of 50 trees of 64 reference rows.";
        case DetectorKind::pca_residual:
            return "Distance from the span of the principal components that hold 90 % of the variance of up to 128 "
                   "reference rows.";
        case DetectorKind::ecod:
            return "Empirical tail probabilities, feature by feature (ECOD, Li et al. 2022), among up to 128 reference "
                   "rows.";
        case DetectorKind::relative_mahalanobis:
            return "Squared Mahalanobis distance from ordinary text less that from a background (Ren et al. 2021).";
        case DetectorKind::contrastive_mahalanobis:
            return "Squared Mahalanobis distance from ordinary text less that from texts known to be bad.";
    }
    return "";
}

const char* formula(PruningKind kind) {
    switch (kind) {
        case PruningKind::none:
            return "Only the sums over all tokens.";
        case PruningKind::window:
            return "Sums over the last tokens alone, as a cache has them that keeps a sliding window.";
        case PruningKind::heavy:
            return "Sums over the token itself and those before it that have received most attention by then, per "
                   "layer and KV head: heavy hitters (Zhang et al. 2023).";
        case PruningKind::mass_weighted:
            return "Sums over all tokens, each weighted by the attention that it has received by then.";
    }
    return "";
}

}  // namespace savepoint::views
