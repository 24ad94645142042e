// What kernels are written with. The body of a kernel is a job: a value that is copied to the
// device, whose functions nvcc compiles for both sides and g++ for the CPU. kernels.cu only maps
// threads to jobs, and the tests run the same bodies over the whole grid in loops.
//
//   map      thread(number) does a part of the work on its own; threads() says how many there are
//   reduce   thread(block, thread) gives a State of its own; the states of a block are merged in a
//            fixed tree (merge_step), and finish(block, state) takes the result
//
// A job has the same bits on both sides and in every run: it uses no atomics, no library functions
// of floating-point numbers and no products that are rounded together with a sum (kernels.cu is
// compiled with --fmad=false, the rest with -ffp-contract=off), and floats keep their subnormals.
#pragma once

#include <cstring>

#ifdef __CUDACC__
#define CAUSEWAY_HOST_DEVICE __host__ __device__
#else
#define CAUSEWAY_HOST_DEVICE
#endif

namespace models::cuda {

// Threads of a block, a power of two.
constexpr int kThreads = 128;

// std::bit_cast, which has no device form.
template <typename To, typename From>
CAUSEWAY_HOST_DEVICE inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename Float>
CAUSEWAY_HOST_DEVICE inline bool is_nan(Float x) {
  return x != x;
}

// One step of a block's tree, for stride = kThreads / 2, ..., 2, 1. states: those of all threads of
// the block, which are complete up to the step before.
template <typename State>
CAUSEWAY_HOST_DEVICE inline void merge_step(State* states, int thread, int stride) {
  if (thread < stride) states[thread].merge(states[thread + stride]);
}

}  // namespace models::cuda
