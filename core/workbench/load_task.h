#pragma once

#include <memory>
#include <string>

#include "core/analysis/reference_fit.h"
#include "core/workbench/aside.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;
struct LoadedModel;

// Reads a model file, its tokenizer and its stored sidecar on a thread of its own, and hands them over
// when they are complete: until then the workbench keeps what it has.
class LoadTask : public Task {
   public:
    LoadTask(Desk& desk, std::string path);
    ~LoadTask() override;
    Step step() override;
    void stop() override { show_failure("cancelled"); }
    void failed(const std::string& message) override { show_failure(message); }
    double progress() const override { return aside_->progress(); }

   private:
    struct Loaded;
    void adopt();
    void show_progress();
    void show_failure(const std::string& message);

    Desk& desk_;
    std::string path_;
    std::shared_ptr<Loaded> loaded_;
    std::unique_ptr<Aside> aside_;
};

}  // namespace savepoint
