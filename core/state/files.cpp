#include "core/state/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr std::string_view kTemporarySuffix = ".part";

[[noreturn]] void fail(const std::string& path, const std::string& action) {
    const int code = errno;
    throw FileError(path, "cannot " + action + ": " + std::strerror(code));
}

class Descriptor {
   public:
    Descriptor(const std::string& path, int flags, mode_t mode = 0)
        : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }
    bool open() const { return fd_ >= 0; }

   private:
    int fd_;
};

// The process id keeps two processes apart, the counter two threads.
std::string temporary_beside(const std::string& path) {
    static std::atomic<uint64_t> counter{0};
    return path + "." + std::to_string(::getpid()) + "-" + std::to_string(counter++) + std::string(kTemporarySuffix);
}

void write_all(int fd, const std::string& bytes, const std::string& path) {
    size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t written = ::write(fd, bytes.data() + done, bytes.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(path, "be written");
        done += static_cast<size_t>(written);
    }
}

void write_and_sync(const std::string& path, const std::string& bytes) {
    const Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (!file.open()) fail(path, "be created");
    write_all(file.get(), bytes, path);
    if (::fsync(file.get()) != 0) fail(path, "be written to disk");
}

std::string folder_of(const std::string& path) {
    const auto parent = std::filesystem::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
}

int64_t size_of_regular_file(int fd, const std::string& path) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) fail(path, "be read");
    if (!S_ISREG(status.st_mode)) throw FileError(path, "is not a regular file");
    if (status.st_size > physical_memory())
        throw FileError(path, "has " + std::to_string(status.st_size) + " bytes, more than this machine has memory");
    return status.st_size;
}

// "max" and a file that is not there are no limit.
int64_t limit_in(const std::filesystem::path& file) {
    int64_t bytes = 0;
    return std::ifstream(file) >> bytes && bytes > 0 ? bytes : std::numeric_limits<int64_t>::max();
}

// The tightest limit of the control groups that this process is in (version 2 and 1), or none.
int64_t group_memory() {
    const std::filesystem::path root = "/sys/fs/cgroup";
    int64_t tightest = std::min(limit_in(root / "memory.max"), limit_in(root / "memory/memory.limit_in_bytes"));
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const size_t names = line.find(':'), path = line.rfind(':');
        if (names == std::string::npos || path == names) continue;
        const bool second = path == names + 1, memory = line.find("memory") < path;
        if (!second && !memory) continue;
        auto group = std::filesystem::path(line.substr(path + 1)).relative_path();
        for (; !group.empty(); group = group.parent_path())
            tightest = std::min(tightest, second ? limit_in(root / group / "memory.max")
                                                 : limit_in(root / "memory" / group / "memory.limit_in_bytes"));
    }
    return tightest;
}

}  // namespace

int64_t physical_memory() {
    static const int64_t bytes =
        std::min(static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE), group_memory());
    return bytes;
}

bool is_temporary(const std::string& file_name) { return file_name.ends_with(kTemporarySuffix); }

void sync_folder(const std::string& folder) {
    const Descriptor directory(folder, O_RDONLY | O_DIRECTORY);
    if (!directory.open()) fail(folder, "be opened");
    // Some network file systems cannot sync a folder and say so with EINVAL: nothing more can be done there.
    if (::fsync(directory.get()) != 0 && errno != EINVAL) fail(folder, "be written to disk");
}

void replace_file(const std::string& path, const std::string& bytes) {
    const std::string temporary = temporary_beside(path);
    try {
        write_and_sync(temporary, bytes);
        if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, "be replaced");
    } catch (...) {
        ::unlink(temporary.c_str());
        throw;
    }
}

void write_atomically(const std::string& path, const std::string& bytes) {
    replace_file(path, bytes);
    sync_folder(folder_of(path));
}

std::string read_file(const std::string& path) {
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang; it has no effect on files.
    const Descriptor file(path, O_RDONLY | O_NONBLOCK);
    if (!file.open()) fail(path, "be opened");
    std::string bytes(static_cast<size_t>(size_of_regular_file(file.get(), path)), '\0');
    size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(path, "be read");
        if (got == 0) throw FileError(path, "became shorter while it was read");
        done += static_cast<size_t>(got);
    }
    return bytes;
}

}  // namespace savepoint
