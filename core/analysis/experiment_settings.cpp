#include "core/analysis/experiment_settings.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/analysis/builtin_experiments.h"
#include "core/model/error.h"
#include "core/state/json_fields.h"

namespace savepoint {

namespace {

constexpr std::pair<LayerChoice, const char*> kChoices[] = {{LayerChoice::middle, "middle"},
                                                            {LayerChoice::upper, "upper"},
                                                            {LayerChoice::three, "three"},
                                                            {LayerChoice::all, "all"}};

const std::set<std::string> kKeys = {"name",    "builtin",       "data",           "chat",           "phi",
                                     "rotary",  "forms",         "layers",         "detectors",      "equal_features",
                                     "probe_c", "seed",          "train_fraction", "length_matched", "most",
                                     "longest", "answer_tokens", "background",     "hedgehog_steps", "bootstrap"};

template <typename T, typename From>
void read_list(const Fields& fields, const char* key, From from, std::vector<T>& to) {
    if (!fields.has(key)) return;
    to.clear();
    for (const auto& entry : fields.array(key)) {
        if (!entry.is_string()) fields.refuse(key, "must be a list of names");
        try {
            to.push_back(from(entry.get<std::string>()));
        } catch (const InputError& problem) {
            fields.refuse(key, problem.what());
        }
    }
    if (to.empty()) fields.refuse(key, "is an empty list");
}

void read_number(const Fields& fields, const char* key, int64_t low, int64_t high, int64_t& to) {
    if (fields.has(key)) to = fields.integer(key, low, high);
}

template <typename T>
nlohmann::json names_of(const std::vector<T>& list) {
    nlohmann::json out = nlohmann::json::array();
    for (const T& one : list) out.push_back(to_string(one));
    return out;
}

}  // namespace

std::string to_string(LayerChoice choice) {
    for (const auto& [one, name] : kChoices)
        if (one == choice) return name;
    return "?";
}

LayerChoice layer_choice_from(const std::string& name) {
    for (const auto& [choice, one] : kChoices)
        if (name == one) return choice;
    throw InputError("layers: \"" + name + "\" is none of middle, upper, three, all");
}

std::vector<int64_t> layers_of(LayerChoice choice, int64_t layers) {
    std::vector<int64_t> out;
    switch (choice) {
        case LayerChoice::middle:
            return {layers / 2};
        case LayerChoice::upper:
            return {std::min(5 * layers / 6, layers - 1)};
        case LayerChoice::three:
            for (int64_t l = 2 * layers / 3 - 1; l <= 2 * layers / 3 + 1; ++l)
                if (l >= 0 && l < layers) out.push_back(l);
            return out;
        case LayerChoice::all:
            out.resize(static_cast<size_t>(layers));
            std::iota(out.begin(), out.end(), 0);
            return out;
    }
    return out;
}

ExperimentSettings brief_experiment(const std::string& builtin) {
    ExperimentSettings settings;
    settings.name = settings.builtin = builtin;
    settings.phi = {PhiKind::elu1};
    settings.forms = {StateForm::read_out};
    settings.bootstrap = 200;
    return settings;
}

ExperimentSettings experiment_from(const nlohmann::json& object, const std::string& file) {
    const Fields fields(object, file, "");
    for (const auto& [key, value] : object.items())
        if (!kKeys.contains(key)) fields.refuse(key, "is not a setting of an experiment");
    ExperimentSettings s;
    if (fields.has("name")) s.name = fields.text("name");
    if (fields.has("builtin")) s.builtin = fields.text("builtin");
    if (fields.has("data"))
        for (const auto& one : fields.array("data")) s.data.push_back(text_source_from(one, file));
    if (s.builtin.empty() == s.data.empty()) fields.refuse("data", "or \"builtin\" must be given, one of the two");
    if (fields.has("chat")) s.chat = fields.boolean("chat");
    if (fields.has("rotary")) s.rotary = fields.boolean("rotary");
    if (fields.has("length_matched")) s.length_matched = fields.boolean("length_matched");
    read_list(fields, "phi", phi_from, s.phi);
    read_list(fields, "forms", form_from, s.forms);
    read_list(fields, "layers", layer_choice_from, s.layers);
    read_list(fields, "detectors", detector_from, s.detectors);
    read_number(fields, "equal_features", 0, 4096, s.equal_features);
    read_number(fields, "most", 8, 100000, s.most);
    read_number(fields, "longest", 2, 8192, s.longest);
    read_number(fields, "answer_tokens", 1, 1024, s.answer_tokens);
    read_number(fields, "background", 2, 10000, s.background);
    read_number(fields, "hedgehog_steps", 1, 100000, s.hedgehog_steps);
    int64_t bootstrap = s.bootstrap;
    read_number(fields, "bootstrap", 0, 100000, bootstrap);
    s.bootstrap = static_cast<int>(bootstrap);
    if (fields.has("seed")) s.seed = fields.unsigned_integer("seed");
    if (fields.has("probe_c")) s.probe_c = fields.number("probe_c");
    if (fields.has("train_fraction")) s.train_fraction = fields.number("train_fraction");
    if (!(s.train_fraction > 0 && s.train_fraction < 1)) fields.refuse("train_fraction", "must lie between 0 and 1");
    if (!(s.probe_c > 0)) fields.refuse("probe_c", "must be above 0");
    if (s.name == "experiment" && !s.builtin.empty()) s.name = s.builtin;
    return s;
}

nlohmann::json described(const ExperimentSettings& s) {
    nlohmann::json data = nlohmann::json::array();
    for (const TextSource& one : s.data)
        data.push_back({{"path", one.path}, {"format", one.format}, {"label", one.label}});
    return {{"name", s.name},
            {"builtin", s.builtin},
            {"data", data},
            {"chat", s.chat},
            {"phi", names_of(s.phi)},
            {"rotary", s.rotary},
            {"forms", names_of(s.forms)},
            {"layers", names_of(s.layers)},
            {"detectors", names_of(s.detectors)},
            {"equal_features", s.equal_features},
            {"probe_c", s.probe_c},
            {"train_fraction", s.train_fraction},
            {"length_matched", s.length_matched},
            {"most", s.most},
            {"longest", s.longest},
            {"answer_tokens", s.answer_tokens},
            {"background", s.background},
            {"hedgehog_steps", s.hedgehog_steps},
            {"bootstrap", s.bootstrap},
            {"seed", s.seed}};
}

}  // namespace savepoint
