#include "app/cli/progress_line.h"

#include <unistd.h>

#include <iostream>

namespace savepoint {

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressLine::show(double progress, const std::string& stage) {
    const int percent = static_cast<int>(100 * progress);
    const std::string line = std::to_string(percent) + "%" + (stage.empty() ? "" : "  " + stage);
    if (terminal_) {
        std::cerr << "\r\033[K" << line << std::flush;
        visible_ = true;
    } else if (percent / 10 > tenth_) {
        tenth_ = percent / 10;
        std::cerr << line << std::endl;
    }
}

void ProgressLine::clear() {
    if (visible_) std::cerr << "\r\033[K" << std::flush;
    visible_ = false;
}

}  // namespace savepoint
