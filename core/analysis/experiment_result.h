#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

// One way of scoring, judged on the test texts.
struct ExperimentRow {
    std::string source;             // "state", "activation", "length" or "log_probability"
    std::string phi, form, layers;  // form of an activation: of the "last" token, or the "mean" over tokens
    std::string detector;           // or "linear_probe", the supervised ceiling; "" for the last two sources
    bool equal = false;             // through the fitted components that make choices equal in number
    int64_t features = 0;
    double auroc = 0, low = 0, high = 0;  // with its 95 % bootstrap interval
    double auprc = 0, false_rate_at_95 = 0;
    // On the two halves of the test texts: a choice made on the first is judged on the second.
    double auroc_choice = 0, auroc_judge = 0;
    // Of normal and anomalous test texts, those with a p-value of at most 0.05; NaN for what has no reference.
    double false_alarms = 0, hits = 0;
    double milliseconds = 0;  // to fit and score, features at hand
    std::vector<double> score;

    std::string name() const;
};

// How the score of one source rises around what was injected mid-text, position by position: of test texts, by the
// detector of the default choice, fitted on normal training texts at the same position. In units in which held-out
// normal texts have mean 0 and their 95th percentile is 1.
struct ScoreCurve {
    std::string name;           // "state", "activation" (of that token), "log_probability" (of it, negative)
    std::vector<double> mean;   // of injected texts
    std::vector<double> above;  // fraction of them above the 95th percentile
    std::vector<double> auroc;  // of them against the normal test texts
    int64_t delay = -1;         // tokens from the first injected one to the first whose mean is above 1; -1: none is
};
struct InjectionCurves {
    int64_t first = 0;     // position of the first entry, relative to the first injected token
    int64_t injected = 0;  // tokens; plain text goes on after them, where entries go on
    std::vector<ScoreCurve> curves;
};

struct ExperimentText {
    std::string text, group;
    bool anomalous = false;
    int64_t tokens = 0;
};

struct ExperimentResult {
    std::vector<ExperimentRow> rows;
    std::vector<ExperimentText> texts;                              // of the test, as the scores
    std::vector<int> half;                                          // 0 or 1, of each
    int64_t fitted = 0, calibrated = 0, trained = 0, left_out = 0;  // normal; normal; both kinds; by length matching
    int64_t masked = 0;                                             // quotients whose denominator vanished
    double forward_seconds = 0, seconds = 0, cpu_seconds = 0;       // the last of all threads of the process
    std::string framing;                                            // how conversations were given to the model; or ""
    InjectionCurves injection;                                      // no curves where nothing was injected

    // The best of a source by the first half (detector != "linear_probe", or only that), -1 where there is none.
    int64_t best(const std::string& source, bool probe) const;
    int64_t find(const std::string& source, const std::string& phi, const std::string& form, const std::string& layers,
                 const std::string& detector, bool equal) const;
};

}  // namespace savepoint
