#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/metric_calibration.h"
#include "core/sidecar/token_importance.h"

namespace savepoint {

// All groups of a transform decomposed, step by step: in the metric as it was estimated; then, where there is one,
// again in the metric calibrated at `ratio`; then, for a transform of keys and values, how much each token matters is
// fitted.
class TransformDecomposition {
   public:
    struct Text {
        std::vector<std::vector<TokenId>> calibration;  // sequences that the moments are not from; none: left out
        std::vector<std::vector<TokenId>> importance;   // none: every token has the same step
        int64_t prefix = 192, exact_first = 4;          // of the sequences
    };
    TransformDecomposition(const Transformer& model, TransformFit& fit, std::optional<Sensitivity> sensitivity,
                           Text text, double ratio);
    int64_t steps() const { return static_cast<int64_t>(plan_.size()); }  // in all
    void step();
    const MetricCalibration* calibration() const { return calibration_ ? &*calibration_ : nullptr; }
    // steps() of one that is still to be made.
    static int64_t steps(int64_t layers, int64_t group_size, const Text& text, bool weighted);

   private:
    enum class Stage { decompose, begin_calibration, calibrate, weigh, begin_importance, importance };
    struct Planned {
        Stage stage;
        int64_t index;
    };
    static std::vector<Planned> planned(int64_t layers, int64_t group_size, const Text& text, bool weighted);
    void add_importance(int64_t batch);

    TransformFit& fit_;
    Text text_;
    std::optional<MetricCalibration> calibration_;
    std::optional<TokenImportanceFit> importance_;
    std::shared_ptr<const TransformCodec> codec_;
    double ratio_;
    std::vector<Planned> plan_;
    size_t next_ = 0;
};

}  // namespace savepoint
