// The streaming executor: slices of transfers, in order, to a few threads with fixed buffers.
//
//   1. slice    the next at most slice_bytes of the next transfer (in-order tickets)
//   2. gather   the slice's runs are read straight into the input buffer; each run's CRC is taken once
//   3. cast     only where from != to, through the codec; what a cast loses becomes a witness
//   4. sink     written, or compared, at its place; the CRC of an uncast slice is combined from its runs'
//
// Memory: threads * buffers, whatever the tensors' sizes. The first error stops every thread; it is rethrown.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/progress.h"
#include "bridge/convert/tensor_reader.h"
#include "bridge/convert/transfer.h"
#include "bridge/io/memory_budget.h"

namespace bridge {

// Receives finished slices, from several threads at once. begin is in elements of the output tensor.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const Transfer& transfer, size_t index, int64_t begin,
                     std::span<const std::byte> data, uint32_t crc) = 0;
  // After the last slice of everything; single-threaded.
  virtual void finish() {}
};

// What a slice went through, for witnesses: the source elements and the written ones.
struct SliceView {
  const Transfer& transfer;
  size_t ticket;  // position of the slice in the whole order, from 0 without gaps
  int64_t begin;  // elements of the output tensor
  std::span<const Run> runs;
  std::span<const std::byte> input;  // dtype transfer.from
  std::span<std::byte> output;       // dtype transfer.to; a hook may change it
};

struct ExecutorHooks {
  // Bytes of input tensor `index` were read: for source CRCs. Called from several threads.
  std::function<void(size_t index, int64_t byte_begin, int64_t length, uint32_t crc)> on_read;
  // Called for every slice after the cast, from several threads, before the sink.
  std::function<void(const SliceView& slice)> on_slice;
  // A thread failed: whoever waits for another thread's slice must stop waiting.
  std::function<void()> on_error;
};

struct ExecutorOptions {
  int threads = 1;
  int64_t slice_bytes = 1 << 20;  // of input or output, whichever is larger
  bool want_crc = true;           // false: Sink::write gets 0
};

// Threads and slice size that fit what is left of the budget; reserves them. Too little for one thread:
// usage error naming the size needed.
ExecutorOptions plan_execution(int threads, MemoryBudget& budget);

// name_of(target) is for messages.
void execute(const std::vector<Transfer>& transfers, TensorReader& reader, Sink& sink,
             const ExecutorOptions& options, const ExecutorHooks& hooks, Progress& progress,
             const std::function<std::string(int32_t)>& name_of);

}  // namespace bridge
