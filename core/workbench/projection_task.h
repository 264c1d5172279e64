#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/workbench/projection_book.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Fits maps on a thread of its own, one step a permit, so that whatever is more urgent on the worker (generation, a
// preview) goes first while a command never waits for a step. What it holds belongs to the thread until take().
class ProjectionRun {
   public:
    struct Input {
        std::string label;
        std::vector<MapPart> parts;
        PointTable table;
    };
    // `inputs` is called on the thread: reading a file takes its time.
    ProjectionRun(std::function<std::vector<Input>()> inputs, ProjectionSettings settings, std::function<void()> wake);
    ~ProjectionRun() { end(); }

    void permit();  // one more step, unless one is under way
    bool finished() const;
    std::vector<ProjectionMap> maps() const;  // as last looked at
    double progress() const;
    std::string stage() const;
    // Stops the thread after its step (sooner where the step asks) and hands over the maps that have places.
    // Throws what a step threw, when it was not stopped.
    std::vector<std::unique_ptr<MapFit>> take();

   private:
    void run(const std::stop_token& stopped);
    bool step(const std::function<bool()>& go_on);
    void look(bool always);
    void end();

    std::function<std::vector<Input>()> inputs_;
    const ProjectionSettings settings_;
    std::function<void()> wake_;

    std::vector<std::unique_ptr<MapFit>> fits_;  // of the thread
    std::vector<Input> waiting_;
    std::chrono::steady_clock::time_point looked_{};
    bool read_ = false;

    mutable std::mutex mutex_;
    std::condition_variable_any permitted_;
    bool may_step_ = false, finished_ = false;
    std::exception_ptr failure_;
    std::vector<ProjectionMap> maps_;
    double progress_ = 0;
    std::string stage_ = "reading points";
    std::jthread thread_;  // last: it uses all of the above
};

// Gathers the rows that a projection asks for, and fits its maps, publishing them as they take shape. Cancelling keeps
// what is there.
class ProjectionTask : public Task {
   public:
    ProjectionTask(Desk& desk, ProjectionSettings settings);
    Step step() override;
    void stop() override;
    void failed(const std::string& message) override;
    double progress() const override;
    std::string stage() const override;

   private:
    bool gather();
    void start_run();
    void finish(ProjectionState state);
    void publish(ProjectionState state, const std::string& error = {});
    double seconds() const;

    Desk& desk_;
    ProjectionSettings settings_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::vector<MapPlan> plans_;
    std::vector<PathSpan> spans_;  // what is still to be gathered is from next_ of the first on
    size_t span_ = 0;
    int64_t next_ = 0;
    std::vector<PointTable> tables_;
    // Written by the run's thread while it reads a file, before its first permit ends.
    std::shared_ptr<ProjectionPoints> points_ = std::make_shared<ProjectionPoints>();
    std::map<ThoughtId, int64_t> considered_;
    std::unique_ptr<ProjectionRun> run_;
};

}  // namespace savepoint
