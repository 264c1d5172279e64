#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/state/session.h"

namespace savepoint {
namespace {

namespace fs = std::filesystem;

// Saving deletes blobs that nothing refers to: never in a folder that may be someone's own.
void refuse_foreign(const std::string& folder) {
    if (fs::exists(folder + "/manifest.json")) return;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename();
        if (name != "blobs" && name != "lock" && !is_temporary(name))
            throw FileError(folder, "holds " + name + " and is not a session; choose another folder");
    }
}

void make_folders(const std::string& folder) {
    const fs::path path = fs::absolute(folder).lexically_normal();
    const bool fresh = fs::create_directories(path);
    if (!fresh) refuse_foreign(folder);
    fs::create_directory(path / "blobs");
    sync_folder(folder);
    if (fresh) sync_folder((path.has_filename() ? path : path.parent_path()).parent_path().string());
}

std::string holder(int fd) {
    std::array<char, 32> text{};
    const ssize_t got = ::pread(fd, text.data(), text.size() - 1, 0);
    const std::string pid = got > 0 ? std::string(text.data()) : "";
    return pid.empty() || pid.find_first_not_of("0123456789") != std::string::npos ? "another process"
                                                                                   : "process " + pid;
}

// Only for the message to others: the lock itself is the kernel's.
void write_holder(int fd) {
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd, 0) == 0 && ::pwrite(fd, pid.data(), pid.size(), 0) < 0) return;
}

int take(const std::string& folder) {
    const std::string path = folder + "/lock";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) throw FileError(path, std::string("cannot be opened: ") + std::strerror(errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return write_holder(fd), fd;
    const int code = errno;
    const std::string who = code == EWOULDBLOCK ? holder(fd) : "";
    ::close(fd);
    if (who.empty()) throw FileError(path, std::string("cannot be locked: ") + std::strerror(code));
    throw FileError(folder, "is open in " + who + "; close it there, or save under another name");
}

}  // namespace

SessionLock::SessionLock(const std::string& folder, bool make) {
    try {
        if (make) make_folders(folder);
        path_ = fs::canonical(folder).string();
    } catch (const fs::filesystem_error& e) {
        throw FileError(folder, "cannot be made into a session folder: " + e.code().message());
    }
    fd_ = take(folder);
}

bool SessionLock::holds(const std::string& folder) const {
    std::error_code unreadable;
    const std::string path = fs::canonical(folder, unreadable).string();
    return !unreadable && path == path_;
}

SessionLock::~SessionLock() {
    if (fd_ >= 0) ::close(fd_);
}

SessionLock::SessionLock(SessionLock&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

SessionLock& SessionLock::operator=(SessionLock&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
}

}  // namespace savepoint
