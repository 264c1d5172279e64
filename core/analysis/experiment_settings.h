#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/analysis/detector_settings.h"
#include "core/analysis/labelled_text.h"
#include "core/analysis/phi_settings.h"
#include "core/analysis/state_form.h"

namespace savepoint {

// Layers whose state (or hidden state) is looked at; L is the number of layers.
//   middle L / 2;  upper 5 L / 6;  three 2 L / 3 and its two neighbours;  all
enum class LayerChoice { middle, upper, three, all };
std::string to_string(LayerChoice choice);
LayerChoice layer_choice_from(const std::string& name);  // throws InputError that lists the names
std::vector<int64_t> layers_of(LayerChoice choice, int64_t layers);

struct ExperimentSettings {
    std::string name = "experiment";
    std::string builtin;  // a name of builtin_experiments(), or
    std::vector<TextSource> data;
    bool chat = false;  // plain text is given to the model as a user's turn

    std::vector<PhiKind> phi = {PhiKind::elu1, PhiKind::squared_relu, PhiKind::favor, PhiKind::hedgehog};
    bool rotary = false;  // keys and queries after rotary embedding
    std::vector<StateForm> forms = {StateForm::read_out, StateForm::mean, StateForm::singular_values};
    std::vector<LayerChoice> layers = {LayerChoice::middle, LayerChoice::upper, LayerChoice::three, LayerChoice::all};
    std::vector<DetectorKind> detectors = all_detectors();
    int64_t equal_features = 32;  // every choice once more through so many fitted components; 0: not
    double probe_c = 0.01;        // of the linear probe

    double train_fraction = 0.5;
    bool length_matched = true;
    int64_t most = 480;            // texts; a seeded choice of groups where there are more
    int64_t longest = 256;         // tokens of a text; longer ones are left out
    int64_t answer_tokens = 12;    // of texts that the model answers first
    int64_t background = 64;       // plain texts of relative Mahalanobis
    int64_t hedgehog_steps = 200;  // where no learned phi is stored
    int bootstrap = 500;
    uint64_t seed = 1;
};

// A built-in experiment by the choices that need no learning and no second look at each text: elu1's read-out, at all
// four choices of layers, by all detectors. Minutes less than the defaults.
ExperimentSettings brief_experiment(const std::string& builtin);

// {"name", "builtin" or "data": [{"path", "format", ..}], "phi", "forms", "layers", "detectors", "rotary", ..}, every
// key but the data optional, named as above. Throws FileError on anything else.
ExperimentSettings experiment_from(const nlohmann::json& object, const std::string& file);
nlohmann::json described(const ExperimentSettings& settings);

}  // namespace savepoint
