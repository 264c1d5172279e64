#pragma once

#include <string>
#include <vector>

#include "views/frame.h"

namespace savepoint::views {

// Work in the background, with its progress and a way to end it; and what happened, as lines.
class JobsPanel : public Panel {
   public:
    const char* title() const override { return "Jobs and log"; }
    const char* help() const override {
        return "Work in the background with its progress, and everything that was reported.";
    }
    void draw(Frame& frame) override;

   private:
    void draw_jobs(Frame& frame);
    struct Row;
    static std::vector<Row> rows_of(const std::vector<JobView>& jobs);
    void draw_row(Frame& frame, const Row& row);
    void draw_log(const std::vector<LogLine>& log);
    void draw_log_tools(const std::vector<LogLine>& log);
    bool shows(const LogLine& line) const;

    bool info_ = true, warning_ = true, error_ = true;
    std::string filter_;
};

std::string log_text(const LogLine& line);  // "12:03:41 warning  ..."

}  // namespace savepoint::views
