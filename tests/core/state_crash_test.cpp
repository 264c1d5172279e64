// Saving, with the disk failing at every single step. The system calls that saving goes through are
// replaced for this program; while a failure is armed, the n-th and all later ones fail, as when the
// power goes: nothing after that point reaches the disk, not even the removal of temporary files.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "core/model/error.h"
#include "tests/core/state_toy.h"

namespace {

std::atomic<int64_t> calls_left{-1};  // -1: nothing fails

bool disk_is_gone() {
    if (calls_left < 0) return false;
    if (calls_left > 0) return --calls_left, false;
    errno = EIO;
    return true;
}

}  // namespace

extern "C" {

int fsync(int fd) { return disk_is_gone() ? -1 : static_cast<int>(::syscall(SYS_fsync, fd)); }

int rename(const char* from, const char* to) noexcept {
    return disk_is_gone() ? -1 : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char* path) noexcept {
    return disk_is_gone() ? -1 : static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

// The failing write still leaves half of its bytes.
ssize_t write(int fd, const void* bytes, size_t count) {
    if (!disk_is_gone()) return ::syscall(SYS_write, fd, bytes, count);
    ::syscall(SYS_write, fd, bytes, count / 2);
    errno = ENOSPC;
    return -1;
}

}  // extern "C"

using namespace savepoint;

namespace {

// Whether saving got through with the disk failing at its n-th call.
bool save_with_failure(const std::string& folder, const SessionContents& contents, int64_t call) {
    calls_left = call;
    bool failed = false;
    try {
        save_session(folder, contents);
    } catch (const FileError&) {
        failed = true;
    }
    calls_left = -1;
    return !failed;
}

}  // namespace

TEST_CASE("a crash at any point of saving leaves the last good session, or the new one") {
    const toy::Folder folder;
    const std::string path = folder.path("a.savepoint");
    toy::Story story = toy::make_story();
    const SessionContents before = story.contents;
    ThoughtGraph& graph = story.contents.graph;
    LiveCache live(toy::model(), graph);
    toy::generate(graph, live, story.edited, 5);
    graph.edit(story.first).label = "after";

    int64_t call = 0, old_seen = 0, new_seen = 0;
    for (bool done = false; !done; ++call) {
        std::filesystem::remove_all(path);
        save_session(path, before);
        done = save_with_failure(path, story.contents, call);
        const SessionContents opened = open_session(path);
        const bool is_old = toy::difference(before, opened).empty(),
                   is_new = toy::difference(story.contents, opened).empty();
        CHECK((is_old || is_new));
        if (done) CHECK(is_new);
        old_seen += is_old;
        new_seen += is_new;
        CHECK(inspect_session(path, true).problems.empty());

        save_session(path, story.contents);
        CHECK(toy::difference(story.contents, open_session(path)).empty());
        CHECK(inspect_session(path, false).facts["unreferenced_files"] == 0);
    }
    CHECK(call > 8);
    CHECK(old_seen > 5);
    CHECK(new_seen >= 1);
}

TEST_CASE("a crash at any point of the first save leaves a folder that can be saved into") {
    const toy::Folder folder;
    const toy::Story story = toy::make_story();
    for (int64_t call = 0;; ++call) {
        const std::string path = folder.path(std::to_string(call) + ".savepoint");
        const bool done = save_with_failure(path, story.contents, call);
        if (!done && std::filesystem::exists(path) && !std::filesystem::exists(path + "/manifest.json"))
            CHECK_THROWS_AS(open_session(path), FileError);
        save_session(path, story.contents);
        CHECK(toy::difference(story.contents, open_session(path)).empty());
        if (done) break;
    }
}
