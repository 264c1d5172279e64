#pragma once

#include <array>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/analysis/drift_parts.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"

namespace savepoint {

// How far apart runs are that have nothing to do with each other, and how far apart the same run computed two ways.
class DriftScale {
   public:
    struct Part {
        at::Tensor typical;  // [buckets, rows, heads] median distance of two unrelated runs at the same position
        double noise = 0;    // largest distance, over typical, of one run prefilled and decoded, in any row and head
    };
    // The first token by itself (an attention sink), then doubling: [0] [1] [2,3] [4,7] ... [64, inf).
    static constexpr int64_t kBuckets = 8;
    static int64_t bucket(int64_t position);

    bool has(DriftPart part) const { return parts_.contains(part); }
    const Part& part(DriftPart part) const;                         // throws InputError when it was not fitted
    const std::shared_ptr<const Phi>& phi() const { return phi_; }  // that attention_state was measured with
    int64_t runs() const { return runs_; }
    int64_t length() const { return length_; }

   private:
    friend class DriftScaleFit;
    std::map<DriftPart, Part> parts_;
    std::shared_ptr<const Phi> phi_;
    int64_t runs_ = 0, length_ = 0;
};

// Fits it on sequences that have nothing to do with each other, each of the same length; at least two, of at least
// eight tokens. Short steps: one forward pass, one decoded piece, or one layer of one part.
class DriftScaleFit {
   public:
    DriftScaleFit(const Transformer& model, std::vector<std::vector<TokenId>> sequences, std::shared_ptr<const Phi> phi,
                  std::shared_ptr<const Sidecar> sidecar);
    bool step();              // false: done
    double progress() const;  // 0..1
    std::string stage() const;
    std::shared_ptr<const DriftScale> result() const;

   private:
    void run_next();
    bool decode_next();
    void measure(DriftPart part, int64_t row);

    const Transformer& model_;
    std::vector<std::vector<TokenId>> sequences_;
    std::shared_ptr<const Sidecar> sidecar_;
    std::vector<StateRun> runs_;
    std::vector<StateRows> decoded_;  // of the first run, token by token
    std::unique_ptr<KvCache> cache_;
    std::vector<std::unique_ptr<PartReader>> readers_;
    std::unique_ptr<PartReader> again_;
    std::vector<std::pair<DriftPart, int64_t>> left_;  // next one last
    size_t all_ = 0;
    std::shared_ptr<DriftScale> scale_ = std::make_shared<DriftScale>();
};

// Ordinary texts for it: `count` sequences of `length` tokens of different documents of Debian's fortunes.
std::vector<std::vector<TokenId>> unrelated_texts(const Tokenizer& tokenizer, int64_t count = 8, int64_t length = 96);

}  // namespace savepoint
