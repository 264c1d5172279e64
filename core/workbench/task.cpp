#include "core/workbench/task.h"

#include <algorithm>

namespace savepoint {

bool is_background(TaskKind kind) {
    return kind == TaskKind::rows || kind == TaskKind::analysis || kind == TaskKind::fit ||
           kind == TaskKind::reference || kind == TaskKind::project || kind == TaskKind::causal ||
           kind == TaskKind::compare || kind == TaskKind::experiment || kind == TaskKind::ranking ||
           kind == TaskKind::train;
}

TaskList::~TaskList() {
    while (!entries_.empty()) stop(entries_.begin());
}

Task& TaskList::add(std::unique_ptr<Task> task) {
    const int64_t job = task->kind() == TaskKind::preview ? 0 : notices_.open_job(task->name());
    entries_.push_back({std::move(task), job, false});
    return *entries_.back().task;
}

Task* TaskList::next() {
    Task* best = nullptr;
    for (const Entry& entry : entries_)
        if (!entry.waiting && (!best || entry.task->kind() < best->kind())) best = entry.task.get();
    return best;
}

void TaskList::wake() {
    for (Entry& entry : entries_) entry.waiting = false;
}

Task* TaskList::find(TaskKind kind) const {
    const auto found =
        std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.task->kind() == kind; });
    return found == entries_.end() ? nullptr : found->task.get();
}

bool TaskList::only_background() const {
    return std::all_of(entries_.begin(), entries_.end(), [](const Entry& e) { return is_background(e.task->kind()); });
}

void TaskList::ran(Task& task, Step step) {
    const auto entry = locate(task);
    if (entry == entries_.end()) return;
    if (step == Step::done) return end(entry, JobView::State::done, task.stage());
    entry->waiting = step == Step::waiting;
    notices_.update_job(entry->job, task.progress(), task.stage(), JobView::State::running);
}

void TaskList::failed(Task& task, const std::string& message) {
    const auto entry = locate(task);
    if (entry != entries_.end()) end(entry, JobView::State::failed, message);
}

template <typename Condition>
void TaskList::stop_where(Condition condition) {
    // Stopping one task may change the list, so each is looked up anew.
    while (true) {
        const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return condition(e); });
        if (entry == entries_.end()) return;
        stop(entry);
    }
}

void TaskList::stop(TaskKind kind) {
    stop_where([&](const Entry& e) { return e.task->kind() == kind; });
}

bool TaskList::stop_job(int64_t job) {
    if (job == 0) return false;
    const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.job == job; });
    if (entry == entries_.end()) return false;
    stop(entry);
    return true;
}

void TaskList::stop_all_but(std::initializer_list<TaskKind> kept) {
    stop_where([&](const Entry& e) { return std::find(kept.begin(), kept.end(), e.task->kind()) == kept.end(); });
}

void TaskList::stop(Entries::iterator entry) {
    Entry ending = std::move(*entry);
    entries_.erase(entry);
    wake();
    ending.task->stop();
    notices_.close_job(ending.job, JobView::State::cancelled);
}

TaskList::Entries::iterator TaskList::locate(const Task& task) {
    return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.task.get() == &task; });
}

void TaskList::end(Entries::iterator entry, JobView::State state, const std::string& message) {
    const Entry ending = std::move(*entry);
    entries_.erase(entry);
    wake();  // another task may have waited for this one
    notices_.close_job(ending.job, state, message);
}

}  // namespace savepoint
