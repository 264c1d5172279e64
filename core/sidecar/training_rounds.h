#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/sidecar/network_trainer.h"
#include "core/sidecar/training_record.h"
#include "core/sidecar/training_text.h"

namespace savepoint {

// Trains the networks of a learned codec, round by round: runs the model on some sequences, holds their states, passes
// over them twice, and now and then looks at held-out text. The networks that did best there are kept.
class TrainingRounds {
   public:
    // The text is held by reference.
    TrainingRounds(const Transformer& model, LearnedCodec::Parts parts, std::shared_ptr<LatentNetwork> network,
                   const TrainingText& text, const TrainingSettings& settings);

    bool done() const { return progress_.round >= settings_.rounds || enough_; }
    void finish_early() { enough_ = true; }
    int64_t round() const { return progress_.round; }  // finished so far
    bool between_rounds() const { return held_.empty(); }
    const std::vector<TrainingPoint>& curve() const { return progress_.curve; }
    const TrainingProgress& progress() const { return progress_; }
    // The next round, in steps of about a second, to be run in this order.
    std::vector<std::function<void()>> next_round();

    // The networks as a file holds them: once restore_best() was called, those of the best look.
    void restore_best();
    std::shared_ptr<const LatentNetwork> as_stored() const { return trainer_.as_stored(); }

    // Between two rounds: all that is needed to go on as if nothing had happened.
    void save(TensorFile& file) const;
    void load(const TensorFields& fields, TrainingProgress progress);  // throws FileError

   private:
    TrainingBatch run(std::vector<std::vector<TokenId>> ids) const;
    size_t batches() const { return static_cast<size_t>(settings_.sequences_per_round / settings_.batch); }
    bool with_kl() const;
    size_t active_groups() const;
    double learning_rate() const;
    void hold(size_t batch);
    void learn(size_t pass);
    void end_round();
    PassCost looked();
    void weigh_kl();
    void look(TrainingPoint& point);

    const Transformer& model_;
    LearnedCodec::Parts parts_;
    std::shared_ptr<LatentNetwork> network_;
    const TrainingText& text_;
    TrainingSettings settings_;
    NetworkTrainer trainer_;

    TrainingProgress progress_;
    bool enough_ = false;
    std::vector<TrainingBatch> held_, look_batches_;
    TrainingPoint sums_;  // over the passes of a round
    Parameters best_;     // empty: no look yet
};

}  // namespace savepoint
