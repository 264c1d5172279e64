#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/workbench/snapshot.h"

namespace savepoint {

// What the workbench tells its user beside the data: jobs, log lines, errors. Worker thread only.
class Notices {
   public:
    void log(LogLine::Level level, std::string text);
    void info(std::string text) { log(LogLine::Level::info, std::move(text)); }
    void warn(std::string text) { log(LogLine::Level::warning, std::move(text)); }
    void error(const std::string& title, const std::string& message);  // logged as well
    void dismiss(int64_t error);

    int64_t open_job(std::string name);
    void update_job(int64_t id, double progress, std::string message, JobView::State state);
    void close_job(int64_t id, JobView::State state, std::string message = {});

    // The published forms; the same pointer while nothing changed.
    std::shared_ptr<const std::vector<JobView>> jobs();
    std::shared_ptr<const std::vector<LogLine>> lines();
    const std::vector<ErrorView>& errors() const { return errors_; }
    bool changed() const { return jobs_changed_ || lines_changed_ || errors_changed_; }
    // Progress alone is worth a new snapshot some times a second, anything else at once.
    bool urgent() const { return jobs_urgent_ || lines_changed_ || errors_changed_; }
    void published() { errors_changed_ = false; }

   private:
    using Clock = std::chrono::steady_clock;
    JobView* find(int64_t id);

    std::vector<JobView> jobs_;
    std::vector<Clock::time_point> started_;  // of each job
    std::vector<LogLine> lines_;
    std::vector<ErrorView> errors_;
    std::shared_ptr<const std::vector<JobView>> jobs_view_;
    std::shared_ptr<const std::vector<LogLine>> lines_view_;
    bool jobs_changed_ = true, jobs_urgent_ = true, lines_changed_ = true, errors_changed_ = true;
    int64_t next_job_ = 1, next_error_ = 1;
};

}  // namespace savepoint
