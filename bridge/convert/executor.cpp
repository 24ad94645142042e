#include "bridge/convert/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "bridge/convert/interrupt.h"
#include "bridge/convert/slice_worker.h"

namespace bridge {
namespace {

// Hands out slices in order. Thread-safe.
class SliceQueue {
 public:
  SliceQueue(const std::vector<Transfer>& transfers, int64_t slice_bytes)
      : transfers_(transfers), slice_bytes_(slice_bytes) {}

  std::optional<Slice> next() {
    const std::lock_guard lock(mutex_);
    for (; index_ < transfers_.size(); ++index_, done_ = 0, tiles_.reset()) {
      const Transfer& transfer = transfers_[index_];
      // A multiple of two elements, so that sub-byte elements stay whole bytes.
      const int64_t most = slice_bytes_ * 8 / transfer.widest_bits() / 2 * 2;
      if (transfer.requantize) {
        if (!tiles_) {
          tiles_.emplace(
              BlockGrid(transfer.requantize->source, transfer.layout->part_shape(transfer.part)),
              most);
        }
        if (const auto tile = tiles_->next()) return Slice{index_, ticket_++, 0, 0, tile};
      } else if (const int64_t begin = transfer.begin + done_; begin < transfer.end) {
        const int64_t end = std::min(transfer.end, begin + most);
        done_ += end - begin;
        return Slice{index_, ticket_++, begin, end, std::nullopt};
      }
    }
    return std::nullopt;
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    index_ = transfers_.size();
  }

 private:
  const std::vector<Transfer>& transfers_;
  int64_t slice_bytes_;
  std::mutex mutex_;
  size_t index_ = 0;
  size_t ticket_ = 0;
  int64_t done_ = 0;                 // of the current transfer's elements
  std::optional<TileCursor> tiles_;  // of the current transfer
};

constexpr int64_t kLargestSlice = 1 << 20;  // fits the second-level cache; larger gains nothing
// Input, output with scales, the reader's scratch and the witness check's: at most this many slices a thread.
constexpr int64_t kBuffersPerThread = 4;

// What holds the largest block that is quantized again.
int64_t least_slice(const std::vector<Transfer>& transfers) {
  int64_t least = kSliceUnit;
  for (const Transfer& transfer : transfers) {
    if (!transfer.requantize) continue;
    const BlockScales& blocks = transfer.requantize->source;
    const int64_t elements = int64_t{blocks.block_rows} * blocks.block_columns;
    least = std::max(
        least, (elements * transfer.widest_bits() / 8 + kSliceUnit - 1) / kSliceUnit * kSliceUnit);
  }
  return least;
}

}  // namespace

void Sink::write_scales(const Transfer& /*transfer*/, int64_t /*begin*/,
                        std::span<const std::byte> /*data*/) {
  internal_error("a sink without a place for scales");
}

ExecutorOptions plan_execution(int threads, const std::vector<Transfer>& transfers,
                               MemoryBudget& budget) {
  if (threads <= 0) {
    threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
  }
  const int64_t left = budget.left();
  const int64_t least = kBuffersPerThread * least_slice(transfers);
  if (left < least) {
    usage_error(fmt::format("--memory {} is too small: {} are needed", size_text(budget.limit()),
                            size_text(budget.used() + least)),
                fmt::format("use --memory {}KiB or more", (budget.used() + least + 1023) / 1024));
  }
  threads = static_cast<int>(std::min<int64_t>(threads, left / least));
  const int64_t slice = std::clamp(left / threads / kBuffersPerThread, least / kBuffersPerThread,
                                   std::max(kLargestSlice, least / kBuffersPerThread));
  ExecutorOptions options;
  options.threads = threads;
  options.slice_bytes = slice / kSliceUnit * kSliceUnit;
  options.reserved = options.threads * kBuffersPerThread * options.slice_bytes;
  budget.reserve(options.reserved, "buffers");
  return options;
}

void execute(const std::vector<Transfer>& transfers, TensorReader& reader, Sink& sink,
             const ExecutorOptions& options, const ExecutorHooks& hooks, Progress& progress,
             const std::function<std::string(int32_t)>& name_of) {
  SliceQueue queue(transfers, options.slice_bytes);
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto work = [&] {
    try {
      SliceWorker worker(transfers, reader, sink, options, hooks, progress, name_of);
      while (const auto slice = queue.next()) {
        throw_if_interrupted();
        worker.run(*slice);
      }
    } catch (...) {
      queue.stop();
      if (hooks.on_error) hooks.on_error();
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < options.threads; ++i) threads.emplace_back(work);
    work();
  }
  if (first_error) std::rethrow_exception(first_error);
  reader.finish();
  sink.finish();
}

}  // namespace bridge
