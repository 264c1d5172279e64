#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "core/workbench/commands.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct WorkbenchOptions {
    std::string data_folder;                 // fitted sidecars live in <data_folder>/<model sha256, first 16>/
    std::string device = "auto";             // "cpu", "cuda", "auto"
    int threads = 0;                         // 0: the processors this process may use
    bool fit_when_missing = true;            // fit the default sidecar in the background when none is stored
    int64_t memory_budget = -1;              // bytes of the states of all thoughts; 0: no limit, -1: half of the memory
    double mark_threshold = kMarkThreshold;  // see SetMarkThreshold
    FitSettings fit;
    int64_t tuned_lens_tokens = 8192;  // that a tuned lens is fitted on
};

// The one door: owns model, sidecar, graph and analyses, and does all work on its one worker thread.
// submit() and snapshot() return at once and may be called from any thread. Errors never leave the worker:
// they become Snapshot::errors and log lines. Long work is a job made of short steps, so that a command is
// answered between two steps (within one token while generating, within one forward pass while fitting).
class Workbench {
   public:
    explicit Workbench(WorkbenchOptions options);
    ~Workbench();  // cancels, joins

    void submit(Command command);
    std::shared_ptr<const Snapshot> snapshot() const;  // never null
    // Called on the worker thread after each new snapshot; keep it short (the app wakes its event loop).
    void on_change(std::function<void()> callback);

    // For tests and the command line: blocks until no command waits and no job runs (false: timed out).
    // `background`: also wait for fits and analyses; otherwise for commands and generation only.
    bool wait_idle(std::chrono::milliseconds timeout, bool background = true);

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

std::string default_data_folder();  // $SAVEPOINT_DATA, else $XDG_DATA_HOME/savepoint, else ~/.local/share/savepoint

}  // namespace savepoint
