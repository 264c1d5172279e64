#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/analysis/experiment.h"

namespace savepoint {

// Experiments one after another on one model, sharing the runs of texts that they have in common. step() until done().
// One that its data leave too little for (InputError) is kept with the reason, and the next begins.
class ExperimentSeries {
   public:
    struct Finished {
        ExperimentSettings settings;
        ExperimentResult result;
        std::string refused;  // why there is no result; else empty
    };
    // All of them with the same `rotary`; throws InputError otherwise, and where there are none.
    ExperimentSeries(const Transformer& model, const Tokenizer& tokenizer, std::vector<ExperimentSettings> settings,
                     std::shared_ptr<const Phi> learned = nullptr);
    void step();
    bool done() const { return finished_.size() == settings_.size(); }
    double progress() const;
    std::string stage() const;
    const std::vector<Finished>& finished() const { return finished_; }
    int64_t texts_run() const { return book_->texts(); }

   private:
    const Transformer& model_;
    const Tokenizer& tokenizer_;
    std::vector<ExperimentSettings> settings_;
    std::shared_ptr<const Phi> learned_;
    std::shared_ptr<RunBook> book_;
    std::unique_ptr<Experiment> now_;
    std::vector<Finished> finished_;
};

// brief_experiment() of every built-in one, on at most so many texts each: minutes in all.
std::vector<ExperimentSettings> all_builtin_experiments(int64_t most = 240);

// A row an experiment: AUROC of the named rows (of those chosen on one half of the test texts, on the other half), and
// seconds; then, of injections, how soon each score rises. Markdown and JSON.
std::string to_markdown(const std::vector<ExperimentSeries::Finished>& all);
nlohmann::json to_json(const std::vector<ExperimentSeries::Finished>& all);

}  // namespace savepoint
