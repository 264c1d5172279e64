#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/analysis/phi.h"
#include "core/analysis/phi_ranking_settings.h"
#include "core/model/transformer.h"

namespace savepoint {

// How well the read-out of each phi reproduces the output of the model's own attention on text that nothing was fitted
// on. A sequence of short steps for a worker: call step() until done(). Throws as split_corpus does.
class PhiRanking {
   public:
    PhiRanking(const Transformer& model, const Tokenizer& tokenizer, PhiRankingSettings settings);
    ~PhiRanking();
    void step();
    bool done() const;
    double progress() const;
    std::string stage() const;

    // By relative error, the best first; before the end, of what has been compared so far.
    std::vector<PhiFidelity> ranked() const;
    const PhiRankingSettings& settings() const;
    nlohmann::json described() const;
    std::shared_ptr<const Phi> hedgehog(bool rotary) const;  // as fitted here; null where it was not asked for

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// Keeps the maps that the ranking has learned in `folder` (keep_learned_phi).
void keep_learned(const PhiRanking& ranking, const std::string& folder, const std::string& model_sha256);

// The texts that a hedgehog is fitted on: the fitting part of the same split.
std::vector<std::vector<TokenId>> hedgehog_texts(const Tokenizer& tokenizer, const PhiRankingSettings& settings);

}  // namespace savepoint
