#pragma once

// Plain types only: views include this file.

#include <string>
#include <vector>

#include "core/analysis/detector_settings.h"
#include "core/analysis/phi_settings.h"
#include "core/analysis/state_form.h"

namespace savepoint {

// What the anomaly score of a token is made of: a form of the linear-attention state under phi, and the detector that
// says how far it lies from a reference set.
struct AnomalyChoice {
    PhiSettings phi = {};
    StateForm form = StateForm::read_out;
    DetectorKind detector = DetectorKind::mahalanobis;
    bool operator==(const AnomalyChoice&) const = default;
};

// One word that names the whole choice, fit for a file's name: "elu1.read_out.mahalanobis",
// "favor-128-1.after_rotary.rows.knn".
std::string to_string(const AnomalyChoice& choice);
AnomalyChoice anomaly_choice_from(const std::string& name);  // throws InputError

// S_t / t for signed phi, whose denominators may vanish; else the read-out.
StateForm default_form(PhiKind kind);

// Those that score tokens as they come: all but the two that want a second set of texts.
const std::vector<DetectorKind>& live_detectors();
// With forests small enough for one a layer, head and position range: 50 trees of 64 rows.
DetectorSettings live_settings(DetectorKind kind);

}  // namespace savepoint
