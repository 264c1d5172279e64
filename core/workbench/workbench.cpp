#include "core/workbench/workbench.h"

#include <cstdlib>

#include "core/workbench/worker.h"

namespace savepoint {

struct Workbench::Impl {
    explicit Impl(WorkbenchOptions options) : worker(std::move(options)) {}
    Worker worker;
};

Workbench::Workbench(WorkbenchOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Workbench::~Workbench() = default;

void Workbench::submit(Command command) { impl_->worker.submit(std::move(command)); }
std::shared_ptr<const Snapshot> Workbench::snapshot() const { return impl_->worker.snapshot(); }
void Workbench::on_change(std::function<void()> callback) { impl_->worker.on_change(std::move(callback)); }
bool Workbench::wait_idle(std::chrono::milliseconds timeout, bool background) {
    return impl_->worker.wait_idle(timeout, background);
}

std::string default_data_folder() {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    if (const std::string own = variable("SAVEPOINT_DATA"); !own.empty()) return own;
    if (const std::string data = variable("XDG_DATA_HOME"); !data.empty()) return data + "/savepoint";
    return variable("HOME") + "/.local/share/savepoint";
}

}  // namespace savepoint
