#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/analysis/lens.h"
#include "core/workbench/lens_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// The tuned lens of the model in use: read from the data folder, or fitted and kept there.
struct KnownLens {
    std::shared_ptr<const TunedLens> lens;
    bool looked = false;  // for a stored one
};
std::string tuned_lens_path(const std::string& fit_folder);
std::shared_ptr<const TunedLens> stored_tuned_lens(Desk& desk);  // null: none; throws FileError on a damaged one

// Reads a path through a lens, some tokens a step, after fitting the tuned lens where one is asked for and none is
// there.
class LensTask : public Task {
   public:
    LensTask(Desk& desk, LensRequest request);  // throws InputError naming what is not there
    Step step() override;
    void stop() override { publish(CausalState::cancelled); }
    void failed(const std::string& message) override { publish(CausalState::failed, message); }
    double progress() const override;
    std::string stage() const override;

   private:
    bool fit();
    void begin();
    void publish(CausalState state, const std::string& error = {});

    Desk& desk_;
    LensRequest request_;
    std::shared_ptr<const TunedLens> tuned_;
    std::unique_ptr<TunedLensFit> fit_;
    std::unique_ptr<Lens> lens_;
    std::vector<std::string> text_, top_;
    std::vector<ThoughtId> owner_;
    std::chrono::steady_clock::time_point published_{};
};

}  // namespace savepoint
