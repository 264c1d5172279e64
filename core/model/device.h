#pragma once

#include <c10/core/Device.h>

#include <string>

namespace savepoint {

// Processors this process may really use (sched_getaffinity and the cgroup quota), at least 1.
int usable_processors();
// Sets libtorch's and our own kernels' thread count; call once, early. 0: usable_processors(), or OMP_NUM_THREADS
// where that is fewer.
void set_threads(int threads);
int threads();
std::string cpu_name();
bool multiplies_bfloat16();  // this processor, in hardware
int64_t resident_bytes();    // of this process

// "cpu", "cuda" or "auto". Loads libtorch_cuda when asked for or found beside libtorch_cpu, before any
// query of CUDA. Throws Error with the way out when "cuda" is asked for and cannot be had.
c10::Device open_device(const std::string& name);
bool cuda_available();  // after open_device("cuda" | "auto") only

}  // namespace savepoint
