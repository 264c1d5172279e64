#pragma once

#include <memory>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/sensitivity.h"

namespace savepoint {

// What a metric foretells beside what happens. The Fisher information of single rows (sensitivity.h) leaves out that
// errors of neighbouring tokens resemble each other: attention averages values, so what their errors have in common
// stays, while what the errors of keys have in common cancels in the softmax. Measured for some blocks at a time, keys
// and values apart: KL(exact || resumed) when these rows alone are decoded, over the forecast weight E[d^T F d].
class MetricCalibration {
   public:
    struct Cell {
        LayerGroup blocks;
        bool keys;                          // else values
        double forecast = 0, measured = 0;  // nats, summed over sequences
    };
    // Sequences of prefix and followers, none of them among those that the codec was fitted on.
    MetricCalibration(const Transformer& model, Sensitivity sensitivity, std::vector<std::vector<TokenId>> sequences,
                      int64_t prefix, int64_t exact_first);
    static int64_t steps(int64_t layers, int64_t sequences);
    void step(const TransformCodec& codec);  // some blocks of a sequence
    const std::vector<Cell>& cells() const { return cells_; }
    // F_l with the rows and columns of keys, and those of values, scaled by the root of their cell's measured over
    // forecast; the forecast of the whole stays what it was, so that only the balance changes.
    Sensitivity calibrated() const;

   private:
    void begin(const TransformCodec& codec);
    double forecast(const Cell& cell) const;

    const Transformer& model_;
    Sensitivity sensitivity_;
    std::vector<std::vector<TokenId>> sequences_;
    int64_t prefix_, exact_first_, next_ = 0;
    std::vector<Cell> cells_;    // keys and values of some blocks, then of the next
    StateRows exact_, decoded_;  // of the sequence at hand: its prefix
    at::Tensor log_probs_;       // of its followers
};

}  // namespace savepoint
