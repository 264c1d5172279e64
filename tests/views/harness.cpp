#include "tests/views/harness.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tests/views/sample_snapshot.h"

namespace savepoint::test {
namespace {

constexpr int64_t kFramesAPicture = 4;

bool capture(ImGuiID, int x, int y, int width, int height, unsigned int* pixels, void* user) {
    const auto rgba = static_cast<Harness*>(user)->window().capture(x, y, width, height);
    std::memcpy(pixels, rgba.data(), rgba.size());
    return true;
}

}  // namespace

Harness::Harness(int width, int height, const std::string& pictures) : pictures_(pictures) {
    std::filesystem::create_directories(pictures);
    settings_.width = width, settings_.height = height;
    settings_.tour_seen = true;
    show(sample_snapshot());
    open_window();
}

Harness::~Harness() { close_window(); }

void Harness::open_window() {
    app::WindowOptions options;
    options.offscreen = true, options.keep_layout = false;
    // The door is looked up anew each time, since a test may change it.
    window_ = std::make_unique<app::Window>(
        settings_, app::Door{[this] { return door_.snapshot(); }, [this](Command c) { door_.submit(std::move(c)); }},
        options);
    engine_ = ImGuiTestEngine_CreateContext();
    ImGuiTestEngineIO& io = ImGuiTestEngine_GetIO(engine_);
    io.ConfigRunSpeed = ImGuiTestRunSpeed_Fast;
    io.ConfigVerboseLevel = ImGuiTestVerboseLevel_Warning;
    io.ConfigVerboseLevelOnError = ImGuiTestVerboseLevel_Debug;
    io.ConfigLogToTTY = true;
    io.ConfigSavedSettings = false;
    io.ConfigMouseDrawCursor = false;
    io.ConfigWatchdogWarning = 120, io.ConfigWatchdogKillTest = 600;
    io.ConfigFixedDeltaTime = 1.0f / 60;  // double clicks and delays work the same on a slow machine
    io.ScreenCaptureFunc = capture;
    io.ScreenCaptureUserData = this;
    ImGuiTestEngine_Start(engine_, ImGui::GetCurrentContext());
}

void Harness::close_window() {
    if (!window_) return;
    ImGuiTestEngine_Stop(engine_);
    window_.reset();
    ImGuiTestEngine_DestroyContext(engine_);
    engine_ = nullptr;
}

void Harness::show(std::shared_ptr<const Snapshot> made_up) {
    submitted_.clear();
    door_ = {[made_up] { return made_up; }, [this](Command command) { submitted_.push_back(std::move(command)); }};
}

void Harness::connect(app::Door door) { door_ = std::move(door); }

int Harness::run(const std::string& filter, const std::function<void(Harness&)>& add) {
    add(*this);
    ImGuiTestEngine_QueueTests(engine_, ImGuiTestGroup_Tests, filter.c_str(), ImGuiTestRunFlags_RunFromCommandLine);
    for (int64_t frame = 0; !ImGuiTestEngine_IsTestQueueEmpty(engine_); ++frame) {
        // A processor that draws for want of a graphics card takes most of a frame for its pixels.
        const bool pixels = frame % kFramesAPicture == 0 || !wanted_picture_.empty();
        window_->frame(pixels);
        ImGuiTestEngine_PostSwap(engine_);
        if (wanted_picture_.empty() || !pixels) continue;
        window_->write_picture(wanted_picture_);
        wanted_picture_.clear();
    }
    ImGuiTestEngineResultSummary summary;
    ImGuiTestEngine_GetResultSummary(engine_, &summary);
    std::printf("%d of %d tests passed\n", summary.CountSuccess, summary.CountTested);
    return summary.CountSuccess == summary.CountTested ? 0 : 1;
}

bool wait_until(ImGuiTestContext* ctx, double seconds, const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end || ctx->IsError()) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the processors are for what is waited for
        ctx->Yield();
    }
    ctx->Yield(2);
    return true;
}

void choose_file(ImGuiTestContext* ctx, const char* dialog, const std::string& folder, const char* name) {
    ctx->Yield(3);
    ctx->SetRef(dialog);
    ctx->ItemInput("##folder");
    ctx->KeyCharsReplaceEnter(folder.c_str());
    if (*name != 0) {
        ctx->ItemInput("##name");
        ctx->KeyCharsReplace(name);
    }
    ctx->ItemClick("###accept");
    ctx->Yield(3);
}

void picture_of_all(ImGuiTestContext* ctx, Harness& harness, const std::string& name) {
    ctx->Yield(4);
    harness.take_picture(name);
    while (!harness.picture_taken()) ctx->Yield();
}

}  // namespace savepoint::test
