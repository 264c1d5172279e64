#include "core/workbench/notices.h"

#include <algorithm>
#include <cmath>

namespace savepoint {
namespace {

constexpr size_t kKeptLines = 1000, kKeptJobs = 40, kKeptErrors = 20;

double seconds_since_epoch() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool is_over(const JobView& job) { return job.state != JobView::State::queued && job.state != JobView::State::running; }

double left_of(const JobView& job) {
    // Before that the quotient says more about start-up than about the work.
    if (job.progress < 0.02 || job.seconds < 0.2) return NAN;
    return job.seconds * (1 - job.progress) / job.progress;
}

}  // namespace

void Notices::log(LogLine::Level level, std::string text) {
    lines_.push_back({seconds_since_epoch(), level, std::move(text)});
    if (lines_.size() > kKeptLines) lines_.erase(lines_.begin(), lines_.begin() + kKeptLines / 10);
    lines_changed_ = true;
}

void Notices::error(const std::string& title, const std::string& message) {
    errors_.push_back({next_error_++, title, message});
    if (errors_.size() > kKeptErrors) errors_.erase(errors_.begin());
    errors_changed_ = true;
    log(LogLine::Level::error, title + ": " + message);
}

void Notices::dismiss(int64_t error) {
    errors_changed_ |= std::erase_if(errors_, [&](const ErrorView& e) { return e.id == error; }) > 0;
}

int64_t Notices::open_job(std::string name) {
    JobView job;
    job.id = next_job_++;
    job.name = std::move(name);
    job.state = JobView::State::queued;
    jobs_.push_back(std::move(job));
    started_.push_back(Clock::now());
    if (jobs_.size() > kKeptJobs) {
        const auto old = std::find_if(jobs_.begin(), jobs_.end(), is_over);
        if (old != jobs_.end()) {
            started_.erase(started_.begin() + (old - jobs_.begin()));
            jobs_.erase(old);
        }
    }
    jobs_changed_ = jobs_urgent_ = true;
    return jobs_.back().id;
}

void Notices::update_job(int64_t id, double progress, std::string message, JobView::State state) {
    JobView* job = find(id);
    if (!job) return;
    const auto started = started_.begin() + (job - jobs_.data());
    if (job->state == JobView::State::queued && state == JobView::State::running) *started = Clock::now();
    jobs_urgent_ |= job->state != state;
    job->state = state;
    job->progress = std::clamp(progress, 0.0, 1.0);
    job->message = std::move(message);
    job->seconds = std::chrono::duration<double>(Clock::now() - *started).count();
    job->seconds_left = is_over(*job) ? 0 : left_of(*job);
    job->cancellable = !is_over(*job);
    jobs_changed_ = true;
}

void Notices::close_job(int64_t id, JobView::State state, std::string message) {
    const JobView* job = find(id);
    if (!job) return;
    update_job(id, state == JobView::State::done ? 1.0 : job->progress, std::move(message), state);
}

JobView* Notices::find(int64_t id) {
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [&](const JobView& job) { return job.id == id; });
    return found == jobs_.end() ? nullptr : &*found;
}

std::shared_ptr<const std::vector<JobView>> Notices::jobs() {
    if (jobs_changed_ || !jobs_view_) jobs_view_ = std::make_shared<const std::vector<JobView>>(jobs_);
    jobs_changed_ = jobs_urgent_ = false;
    return jobs_view_;
}

std::shared_ptr<const std::vector<LogLine>> Notices::lines() {
    if (lines_changed_ || !lines_view_) lines_view_ = std::make_shared<const std::vector<LogLine>>(lines_);
    lines_changed_ = false;
    return lines_view_;
}

}  // namespace savepoint
