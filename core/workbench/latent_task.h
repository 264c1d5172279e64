#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sidecar/latent_file.h"
#include "core/workbench/aside.h"
#include "core/workbench/commands.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// A path kept as z alone: codes it, or reads it from a file, decodes it, and adds what it resumes to as a thought of
// its own. On a thread of its own with a Transformer of its own.
class LatentTask : public Task {
   public:
    LatentTask(Desk& desk, const command::KeepAsLatent& command);  // throws InputError; the path's rows must be there
    LatentTask(Desk& desk, const command::ResumeLatent& command);
    Step step() override;
    double progress() const override { return aside_->progress(); }

   private:
    struct Result;
    void add_thought();

    Desk& desk_;
    std::shared_ptr<Result> result_;
    std::unique_ptr<Aside> aside_;
};

// Decodes the thoughts of a path that await it (thought_graph.h), so that they can be gone on from. What waits for rows
// then comes again.
class DecodeTask : public Task {
   public:
    DecodeTask(Desk& desk, ThoughtId path);
    Step step() override;
    void stop() override;
    double progress() const override;

   private:
    struct One;
    void begin();
    void adopt();

    Desk& desk_;
    std::vector<ThoughtId> left_;  // root last
    size_t all_;
    std::shared_ptr<One> one_;
    std::unique_ptr<Aside> aside_;
};

}  // namespace savepoint
