#include "core/analysis/anomaly_choice.h"

#include <charconv>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr const char* kAfterRotary = "after_rotary";

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == separator)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

std::string phi_name(const PhiSettings& phi) {
    std::string name = to_string(phi.kind);
    if (phi.kind == PhiKind::favor)
        name += "-" + std::to_string(phi.favor_features) + "-" + std::to_string(phi.favor_seed);
    if (phi.kind == PhiKind::dpfp) name += "-" + std::to_string(phi.dpfp_nu);
    return name;
}

template <typename Number>
void read_number(const std::string& text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size())
        throw InputError("anomaly choice: \"" + text + "\" is not a number");
}

PhiSettings phi_named(const std::string& name) {
    const std::vector<std::string> parts = split(name, '-');
    PhiSettings phi;
    phi.kind = phi_from(parts[0]);
    const size_t expected = phi.kind == PhiKind::favor ? 3 : phi.kind == PhiKind::dpfp ? 2 : 1;
    if (parts.size() != expected) throw InputError("anomaly choice: \"" + name + "\" is no phi with its settings");
    if (phi.kind == PhiKind::favor) {
        read_number(parts[1], phi.favor_features);
        read_number(parts[2], phi.favor_seed);
    }
    if (phi.kind == PhiKind::dpfp) read_number(parts[1], phi.dpfp_nu);
    return phi;
}

}  // namespace

std::string to_string(const AnomalyChoice& choice) {
    return phi_name(choice.phi) + (choice.phi.rotary ? std::string(".") + kAfterRotary : std::string()) + "." +
           to_string(choice.form) + "." + to_string(choice.detector);
}

AnomalyChoice anomaly_choice_from(const std::string& name) {
    std::vector<std::string> parts = split(name, '.');
    const bool rotary = parts.size() == 4 && parts[1] == kAfterRotary;
    if (rotary) parts.erase(parts.begin() + 1);
    if (parts.size() != 3) throw InputError("anomaly choice: \"" + name + "\" is not PHI.FORM.DETECTOR");
    AnomalyChoice choice;
    choice.phi = phi_named(parts[0]);
    choice.phi.rotary = rotary;
    choice.form = form_from(parts[1]);
    choice.detector = detector_from(parts[2]);
    return choice;
}

StateForm default_form(PhiKind kind) { return kind == PhiKind::identity ? StateForm::mean : StateForm::read_out; }

const std::vector<DetectorKind>& live_detectors() {
    static const std::vector<DetectorKind> live = [] {
        std::vector<DetectorKind> kinds;
        for (const DetectorKind kind : all_detectors())
            if (!needs_other(kind)) kinds.push_back(kind);
        return kinds;
    }();
    return live;
}

DetectorSettings live_settings(DetectorKind kind) {
    DetectorSettings settings;
    settings.kind = kind;
    settings.trees = 50;
    settings.tree_samples = 64;
    return settings;
}

}  // namespace savepoint
