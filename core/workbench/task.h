#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/workbench/notices.h"

namespace savepoint {

enum class Step {
    again,    // more to do
    waiting,  // for something outside the worker; asked again when the worker is woken
    done
};

// In the order of precedence: a step of the first kind that has work is what the worker does next.
enum class TaskKind {
    load,
    preview,
    session,
    generation,
    asked,
    rows,
    analysis,
    exporting,
    causal,
    project,
    fit,
    reference,
    compare,
    experiment,
    ranking,
    train
};
// What runs without having been asked for.
bool is_background(TaskKind kind);

// A long piece of work, cut into steps short enough that a command is answered between two of them.
// Dropping a task cancels it: the destructor leaves nothing half-written behind.
class Task {
   public:
    Task(TaskKind kind, std::string name) : kind_(kind), name_(std::move(name)) {}
    virtual ~Task() = default;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;

    virtual Step step() = 0;                             // throws to fail
    virtual void stop() {}                               // asked to end early; keeps what is worth keeping
    virtual void failed(const std::string&) { stop(); }  // after step() threw
    virtual double progress() const { return 0; }        // 0..1
    virtual std::string stage() const { return {}; }

    TaskKind kind() const { return kind_; }
    const std::string& name() const { return name_; }

   private:
    TaskKind kind_;
    std::string name_;
};

// The tasks at hand, each with its entry in the list of jobs; but not previews: a slider makes hundreds.
class TaskList {
   public:
    explicit TaskList(Notices& notices) : notices_(notices) {}
    ~TaskList();

    Task& add(std::unique_ptr<Task> task);
    Task* next();  // of the first kind, oldest first; null when all wait or none is there
    void wake();   // waiting ones are to be asked again
    Task* find(TaskKind kind) const;
    bool has(TaskKind kind) const { return find(kind) != nullptr; }
    bool empty() const { return entries_.empty(); }
    bool only_background() const;

    void ran(Task& task, Step step);  // after its step
    void failed(Task& task, const std::string& message);
    void stop(TaskKind kind);    // all of a kind
    bool stop_job(int64_t job);  // false: no such job
    void stop_all_but(std::initializer_list<TaskKind> kept);

   private:
    struct Entry {
        std::unique_ptr<Task> task;
        int64_t job = 0;  // 0: none
        bool waiting = false;
    };
    using Entries = std::vector<Entry>;
    Entries::iterator locate(const Task& task);
    void end(Entries::iterator entry, JobView::State state, const std::string& message = {});
    void stop(Entries::iterator entry);
    template <typename Condition>
    void stop_where(Condition condition);

    Notices& notices_;
    Entries entries_;
};

}  // namespace savepoint
