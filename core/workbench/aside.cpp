#include "core/workbench/aside.h"

#include "core/model/error.h"

namespace savepoint {

Aside::Aside(std::function<void(const Report&)> work, std::function<void()> wake) : wake_(std::move(wake)) {
    thread_ = std::jthread([this, work = std::move(work)] {
        try {
            work([this](double fraction) { report(fraction); });
        } catch (...) {
            failure_ = std::current_exception();
        }
        finished_ = true;
        wake_();
    });
}

void Aside::rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
}

void Aside::report(double fraction) {
    if (cancelled_) throw Cancelled();
    const bool next_percent = fraction >= progress_ + 0.01;
    if (!next_percent) return;
    progress_ = fraction;
    wake_();
}

}  // namespace savepoint
