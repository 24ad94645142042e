// Runs the jobs of kernels on the CPU: the whole grid, block by block and thread by thread, and
// every step of a block's tree for all threads before the next one.
#pragma once

#include <vector>

#include "models/cuda/host_device.h"

namespace models::cuda {

template <typename Job>
void run_map(const Job& job) {
  // The last block has threads without work.
  const int64_t blocks = (job.threads() + kThreads - 1) / kThreads;
  for (int64_t number = 0; number < blocks * kThreads; ++number) job.thread(number);
}

template <typename Job>
void run_reduce(const Job& job) {
  std::vector<typename Job::State> states(kThreads);
  for (int64_t block = 0; block < job.blocks(); ++block) {
    for (int thread = 0; thread < kThreads; ++thread) {
      states[static_cast<size_t>(thread)] = job.thread(block, thread);
    }
    for (int stride = kThreads / 2; stride > 0; stride /= 2) {
      for (int thread = 0; thread < kThreads; ++thread) merge_step(states.data(), thread, stride);
    }
    job.finish(block, states[0]);
  }
}

}  // namespace models::cuda
