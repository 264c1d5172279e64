#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/analysis/collapse_report.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

// Signs of representations that say the same whatever they were made of; names and thresholds after LatentWire's report
// (github.com/SujeethJinesh/LatentWire, REPORT.md, 3.1). All in float64; throw InputError below two rows.
double mean_pairwise_cosine(const at::Tensor& rows);       // [n, d], over the n (n - 1) / 2 pairs
std::vector<double> pca_variance(const at::Tensor& rows);  // share of each principal component, descending
double effective_rank(const at::Tensor& rows);             // exp of the entropy of the centred rows' singular values,
                                                           // as shares of their sum (Roy & Vetterli 2007)
double diversity(const std::vector<std::vector<int32_t>>& outputs);  // different ones, over all

// Asks all of it of a subject: `prompts` texts are read, coded and decoded, and the model goes on greedily from what
// came back, beside going on from its own states. One prompt a step.
class CollapseRun {
   public:
    // Sequences of `prefix` tokens each; soft prompts need none. Throws InputError without a sidecar (but for soft
    // prompts), FileError on a file that does not hold what it should.
    CollapseRun(const Transformer& model, std::vector<std::vector<TokenId>> prefixes,
                std::shared_ptr<const Sidecar> sidecar, CollapseSettings settings);
    ~CollapseRun();
    bool step();  // false: done
    double progress() const;
    CollapseReport report() const;  // of the prompts that are done

   private:
    struct Prompt;
    struct Soft;
    Prompt own(const std::vector<TokenId>& prefix) const;
    Prompt soft(int64_t index) const;

    const Transformer& model_;
    std::vector<std::vector<TokenId>> prefixes_;
    std::shared_ptr<const Sidecar> sidecar_;
    CollapseSettings settings_;
    std::unique_ptr<Soft> soft_;
    int64_t all_ = 0;
    std::vector<Prompt> done_;
};

// Texts for it: the beginnings of held-out reference text.
std::vector<std::vector<TokenId>> collapse_texts(const Tokenizer& tokenizer, const CollapseSettings& settings);

}  // namespace savepoint
