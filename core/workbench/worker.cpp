#include "core/workbench/worker.h"

#include <algorithm>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/workbench/handlers.h"

namespace savepoint {
namespace {

// Only the newest of these counts: a slider or a mouse makes many of them in a moment.
template <typename Kind>
void keep_newest(std::deque<Received>& commands) {
    const auto is_kind = [](const Received& r) { return std::holds_alternative<Kind>(r.command); };
    const auto newest = std::find_if(commands.rbegin(), commands.rend(), is_kind);
    if (newest == commands.rend()) return;
    const Received* kept = &*newest;
    std::deque<Received> left;
    for (Received& received : commands)
        if (!is_kind(received) || &received == kept) left.push_back(std::move(received));
    commands = std::move(left);
}

}  // namespace

Worker::Worker(WorkbenchOptions options) : desk_(std::move(options), [this] { wake(); }) {
    publish(true);
    thread_ = std::jthread([this] { run(); });
}

Worker::~Worker() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
        callback_ = nullptr;
    }
    has_work_.notify_all();
    thread_.join();
}

void Worker::submit(Command command) {
    {
        const std::scoped_lock lock(mutex_);
        queue_.push_back({std::move(command), Clock::now()});
        idle_ = Idle::no;
    }
    has_work_.notify_all();
}

std::shared_ptr<const Snapshot> Worker::snapshot() const {
    const std::scoped_lock lock(mutex_);
    return snapshot_;
}

void Worker::on_change(std::function<void()> callback) {
    const std::scoped_lock lock(mutex_);
    callback_ = std::move(callback);
}

bool Worker::wait_idle(std::chrono::milliseconds timeout, bool background) {
    std::unique_lock lock(mutex_);
    return became_idle_.wait_for(lock, timeout, [&] { return background ? idle_ == Idle::fully : idle_ != Idle::no; });
}

void Worker::wake() {
    {
        const std::scoped_lock lock(mutex_);
        woken_ = true;
    }
    has_work_.notify_all();
}

void Worker::run() {
    try {
        set_threads(desk_.options.threads);
    } catch (const std::exception& problem) {
        desk_.notices.error("Starting", problem.what());
    }
    while (true) {
        {
            const std::scoped_lock lock(mutex_);
            if (stopping_) break;
            if (woken_) desk_.tasks.wake();
            woken_ = false;
        }
        carry_out(take_commands());
        release_held();
        redo();
        begin_background();
        const bool worked = run_one_step();
        desk_.memory.enforce(desk_, idleness() != Idle::no);
        publish(!worked || idleness() == Idle::fully);  // who waits for the end sees all of it
        note_idleness();
        if (!worked) sleep();
    }
    desk_.tasks.stop_all_but({});
}

std::deque<Received> Worker::take_commands() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(queue_, {});
}

void Worker::carry_out(std::deque<Received> commands) {
    keep_newest<command::PreviewEdit>(commands);
    keep_newest<command::Select>(commands);
    for (const Received& received : commands) hold_or_carry_out(received);
}

void Worker::hold_or_carry_out(const Received& received) {
    const bool loading = desk_.tasks.has(TaskKind::load);
    // What came before must not be overtaken.
    const bool behind_others = !desk_.held.empty();
    if ((loading || behind_others) && !runs_while_loading(received.command))
        desk_.held.push_back(received);
    else
        carry_out(received);
}

void Worker::carry_out(const Received& received) {
    try {
        handle(desk_, received);
    } catch (const Cancelled&) {
        desk_.notices.info(title_of(received.command) + " was cancelled");
    } catch (const std::exception& problem) {
        desk_.notices.error(title_of(received.command), problem.what());
    }
    desk_.publisher.touch();
}

void Worker::release_held() {
    while (!desk_.held.empty() && !desk_.tasks.has(TaskKind::load)) {
        const Received received = std::move(desk_.held.front());
        desk_.held.pop_front();
        carry_out(received);
    }
}

void Worker::redo() {
    for (const Received& received : std::exchange(desk_.redo, {})) carry_out(received);
}

void Worker::begin_background() {
    desk_.want_selected_rows();
    if (!desk_.analyses.wanted(desk_) || desk_.tasks.has(TaskKind::analysis)) return;
    try {
        if (desk_.analyses.missing(desk_))
            desk_.tasks.add(std::make_unique<AnalysisTask>(desk_));
        else
            desk_.analyses.sleep();
    } catch (const std::exception& problem) {
        desk_.analyses.sleep();
        desk_.notices.error("Analysing the path", problem.what());
    }
}

bool Worker::run_one_step() {
    // A dragged slider must not starve the generation: between two previews it has a step of its own.
    if (!preview_ran_last_ || desk_.generating == 0) {
        try {
            start_waiting_preview(desk_);
        } catch (const std::exception& problem) {
            desk_.notices.error("Previewing an edit", problem.what());
        }
    }
    Task* task = desk_.tasks.next();
    if (!task) return !desk_.redo.empty();
    preview_ran_last_ = task->kind() == TaskKind::preview;
    try {
        desk_.tasks.ran(*task, task->step());
    } catch (const Cancelled&) {
        desk_.tasks.failed(*task, "cancelled");
    } catch (const std::exception& problem) {
        fail(*task, problem.what());
    }
    return true;
}

void Worker::fail(Task& task, const std::string& message) {
    const std::string title = task.name();
    try {
        task.failed(message);
    } catch (const std::exception& problem) {
        desk_.notices.warn(title + ": " + problem.what());
    }
    desk_.tasks.failed(task, message);
    desk_.notices.error(title, message);
}

void Worker::publish(bool everything) {
    const auto next = desk_.publisher.build(desk_, everything);
    if (!next) return;
    std::function<void()> callback;
    {
        const std::scoped_lock lock(mutex_);
        snapshot_ = next;
        callback = callback_;
    }
    if (callback) callback();
}

Worker::Idle Worker::idleness() const {
    const bool commands_wait = !desk_.held.empty() || !desk_.generations.empty() || !desk_.after_rows.empty() ||
                               !desk_.redo.empty() || desk_.waiting_preview.has_value();
    if (commands_wait || !desk_.tasks.only_background()) return Idle::no;
    return desk_.tasks.empty() && !desk_.analyses.wanted(desk_) ? Idle::fully : Idle::foreground;
}

void Worker::note_idleness() {
    const Idle now = idleness();
    {
        const std::scoped_lock lock(mutex_);
        idle_ = queue_.empty() && !woken_ ? now : Idle::no;
    }
    became_idle_.notify_all();
}

void Worker::sleep() {
    std::unique_lock lock(mutex_);
    has_work_.wait(lock, [&] { return stopping_ || woken_ || !queue_.empty(); });
}

}  // namespace savepoint
