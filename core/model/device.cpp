#include "core/model/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "core/model/error.h"

namespace savepoint {

namespace {

std::atomic<int> chosen_threads{0};
std::atomic<bool> cuda_loaded{false};

int affinity_count() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
    return std::max(1u, std::thread::hardware_concurrency());
}

// The processors that one cgroup folder grants, or 0 where it sets no limit.
double quota_of(const std::filesystem::path& folder) {
    std::string quota;
    double period = 0;
    if (std::ifstream file(folder / "cpu.max"); file >> quota >> period) {
        return quota == "max" || period <= 0 ? 0 : std::strtod(quota.c_str(), nullptr) / period;
    }
    double microseconds = 0;
    std::ifstream quota_file(folder / "cpu.cfs_quota_us"), period_file(folder / "cpu.cfs_period_us");
    if (quota_file >> microseconds && period_file >> period && microseconds > 0 && period > 0)
        return microseconds / period;
    return 0;
}

// A limit holds for a group and everything below it: the tightest one on the way up counts.
double cgroup_quota() {
    double tightest = 0;
    const auto consider = [&](const std::filesystem::path& folder) {
        const double quota = quota_of(folder);
        if (quota > 0) tightest = tightest > 0 ? std::min(tightest, quota) : quota;
    };
    const std::filesystem::path root = "/sys/fs/cgroup";
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const size_t controllers = line.find(':'), path = line.find(':', controllers + 1);
        if (path == std::string::npos) continue;
        const std::string names = line.substr(controllers + 1, path - controllers - 1);
        if (!names.empty() && names.find("cpu") == std::string::npos) continue;
        std::filesystem::path inside = std::filesystem::path(line.substr(path + 1)).relative_path();
        for (; !inside.empty(); inside = inside.parent_path()) consider((names.empty() ? root : root / "cpu") / inside);
    }
    consider(root);
    consider(root / "cpu");
    return tightest;
}

std::filesystem::path folder_of_libtorch() {
    std::filesystem::path found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
            const std::filesystem::path path = info->dlpi_name ? info->dlpi_name : "";
            if (path.filename() != "libtorch_cpu.so") return 0;
            *static_cast<std::filesystem::path*>(out) = path.parent_path();
            return 1;
        },
        &found);
    return found;
}

// OMP_NUM_THREADS, by which whoever starts several programs at once shares out the processors.
int default_threads() {
    const char* wanted = std::getenv("OMP_NUM_THREADS");
    const int count = wanted ? std::atoi(wanted) : 0;
    return count > 0 ? std::min(count, usable_processors()) : usable_processors();
}

// What stands in the way of CUDA, or an empty string after libtorch_cuda was loaded and sees a device.
std::string load_cuda() {
    const std::filesystem::path library = folder_of_libtorch() / "libtorch_cuda.so";
    if (!std::filesystem::exists(library))
        return library.string() + " is missing; fetch the CUDA dependencies (third_party/fetch --cuda)";
    if (!dlopen("libcuda.so.1", RTLD_NOW)) return "no NVIDIA driver is installed (libcuda.so.1 cannot be loaded)";
    if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) return dlerror();
    try {
        if (!at::globalContext().hasCUDA()) return "the NVIDIA driver reports no usable device";
    } catch (const std::exception& problem) {
        return problem.what();
    }
    cuda_loaded = true;
    return "";
}

}  // namespace

int usable_processors() {
    const int processors = affinity_count();
    const double quota = cgroup_quota();
    return quota > 0 ? std::clamp(static_cast<int>(std::ceil(quota)), 1, processors) : processors;
}

void set_threads(int threads) {
    if (threads < 0 || threads > 1024) throw InputError("threads: " + std::to_string(threads) + " is out of range");
    chosen_threads = threads ? threads : default_threads();
    at::set_num_threads(chosen_threads);
}

int threads() {
    if (chosen_threads == 0) set_threads(0);
    return chosen_threads;
}

bool multiplies_bfloat16() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
    }
    return "unknown processor";
}

int64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    int64_t total = 0, resident = 0;
    file >> total >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

c10::Device open_device(const std::string& name) {
    if (name == "cpu") return c10::kCPU;
    if (name != "cuda" && name != "auto") throw InputError("device: '" + name + "' is none of cpu, cuda, auto");
    const std::string problem = cuda_loaded ? "" : load_cuda();
    if (problem.empty()) return c10::Device(c10::kCUDA, 0);
    if (name == "cuda") throw Error("device cuda: " + problem + "; use --device cpu");
    return c10::kCPU;
}

bool cuda_available() { return cuda_loaded; }

}  // namespace savepoint
