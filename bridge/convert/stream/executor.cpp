#include "bridge/convert/stream/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "bridge/convert/stream/slice_worker.h"
#include "bridge/io/base/checked.h"
#include "bridge/io/base/interrupt.h"

namespace bridge {
namespace {

// Hands out slices in order, up to a limit. Thread-safe.
class SliceQueue {
 public:
  SliceQueue(const std::vector<Transfer>& transfers, const ExecutorOptions& options, size_t first)
      : transfers_(transfers),
        slice_bytes_(options.slice_bytes),
        tile_bytes_(options.tile_bytes),
        index_(first),
        limit_(first) {}

  // Slices of transfers below `limit` may be handed out.
  void open_until(size_t limit) { limit_ = limit; }

  std::optional<Slice> next() {
    const std::lock_guard lock(mutex_);
    for (; index_ < limit_; ++index_, done_ = 0, tiles_.reset()) {
      const Transfer& transfer = transfers_[index_];
      // A multiple of two elements, so that sub-byte elements make whole bytes.
      const int64_t most = elements(slice_bytes_, transfer);
      if (transfer.requantize) {
        if (!tiles_) {
          const BlockGrid grid(transfer.requantize->source,
                               transfer.layout->part_shape(transfer.part));
          // As wide as the matrix where tile_bytes allows it: one read and one write instead of one
          // per row.
          tiles_.emplace(grid, std::max(most, std::min(grid.block_rows() * grid.columns(),
                                                       elements(tile_bytes_, transfer))));
        }
        if (const auto tile = tiles_->next()) return Slice{index_, ticket_++, 0, 0, tile};
      } else if (const int64_t begin = transfer.begin + done_; begin < transfer.end) {
        const int64_t end =
            transfer.scattered()
                ? begin + transfer.box(begin, transfer.end, elements(tile_bytes_, transfer)).length
                : std::min(transfer.end, begin + most);
        done_ += end - begin;
        return Slice{index_, ticket_++, begin, end, std::nullopt};
      }
    }
    return std::nullopt;
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    index_ = limit_;
  }

 private:
  static int64_t elements(int64_t bytes, const Transfer& transfer) {
    return bytes * 8 / transfer.widest_bits() / 2 * 2;
  }

  const std::vector<Transfer>& transfers_;
  int64_t slice_bytes_;
  int64_t tile_bytes_;
  std::mutex mutex_;
  size_t index_;
  size_t limit_;
  size_t ticket_ = 0;
  int64_t done_ = 0;                 // of the current transfer's elements
  std::optional<TileCursor> tiles_;  // of the current transfer
};

constexpr int64_t kLargestSlice = 1 << 20;  // fits the second-level cache; larger gains nothing
constexpr int64_t kLargestTile = 8 << 20;   // a row of blocks of 128 x 32,768 in BF16
// Input, output with scales, the reader's scratch and the witness check's scratch: at most this
// many slices per thread.
constexpr int64_t kBuffersPerThread = 4;

int64_t whole_units(int64_t bytes) {
  return (bytes + kSliceUnit - 1) / kSliceUnit * kSliceUnit;
}

// The sizes of the outputs that are quantized again or scattered, in bytes of whole units.
struct TileSizes {
  int64_t block = kSliceUnit;  // the largest block that is narrower than its matrix
  int64_t row = kSliceUnit;    // the widest row of blocks, or the largest scattered output
};

TileSizes tile_sizes(const std::vector<Transfer>& transfers) {
  TileSizes sizes;
  for (const Transfer& transfer : transfers) {
    // The larger a box is, the longer are the stretches that are read for it.
    if (transfer.scattered()) {
      const int64_t elements = std::min(transfer.end - transfer.begin, kLargestTile);
      sizes.row = std::max(sizes.row, whole_units(elements * transfer.widest_bits() / 8));
    }
    if (!transfer.requantize) continue;
    const BlockScales& blocks = transfer.requantize->source;
    const int64_t high = int64_t{blocks.block_rows} * transfer.widest_bits();
    const int64_t columns = transfer.layout->part_shape(transfer.part).back();
    // A block as wide as the matrix may be cut into pieces.
    if (blocks.block_columns < columns) {
      sizes.block = std::max(sizes.block, whole_units(high * blocks.block_columns / 8));
    }
    sizes.row = std::max(sizes.row, whole_units(checked_mul(high, columns, "tile") / 8));
  }
  return sizes;
}

}  // namespace

void Sink::begin(size_t /*first*/, size_t /*last*/) {}

void Sink::write_scales(const Transfer& /*transfer*/, size_t /*index*/, int64_t /*begin*/,
                        std::span<const std::byte> /*data*/) {
  internal_error("a sink without a place for scales");
}

ExecutorOptions plan_execution(int threads, const std::vector<Transfer>& transfers,
                               MemoryBudget& budget) {
  if (threads <= 0) {
    threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
  }
  const int64_t left = budget.left();
  const TileSizes tiles = tile_sizes(transfers);
  const int64_t least = kBuffersPerThread * tiles.block;
  if (left < least) {
    usage_error(fmt::format("--memory {} is too small: {} are needed", size_text(budget.limit()),
                            size_text(budget.used() + least)),
                fmt::format("use --memory {}KiB or more", (budget.used() + least + 1023) / 1024));
  }
  threads = static_cast<int>(std::min<int64_t>(threads, left / least));
  const int64_t most = left / threads / kBuffersPerThread / kSliceUnit * kSliceUnit;
  ExecutorOptions options;
  options.threads = threads;
  options.slice_bytes = std::min(most, std::max(kLargestSlice, tiles.block));
  options.tile_bytes = std::max(options.slice_bytes, std::min({most, tiles.row, kLargestTile}));
  options.reserved = options.threads * kBuffersPerThread * options.tile_bytes;
  budget.reserve(options.reserved, "buffers");
  return options;
}

namespace {

// Runs the threads until the queue has no slice left below its limit.
void drain(SliceQueue& queue, const Execution& execution, Progress& progress) {
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto work = [&] {
    try {
      SliceWorker worker(execution, progress);
      while (const auto slice = queue.next()) {
        throw_if_interrupted();
        worker.run(*slice);
      }
    } catch (...) {
      queue.stop();
      if (execution.hooks.on_error) execution.hooks.on_error();
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < execution.options.threads; ++i) threads.emplace_back(work);
    work();
  }
  if (first_error) std::rethrow_exception(first_error);
}

int64_t output_bytes_of(const Transfer& transfer) {
  int64_t bytes = bytes_of(transfer.to, transfer.end - transfer.begin);
  if (transfer.requantize) {
    const BlockGrid grid(transfer.requantize->source, transfer.layout->part_shape(transfer.part));
    bytes += grid.grid_rows() * grid.grid_columns() * transfer.requantize->source.scale_bytes();
  }
  return bytes;
}

// Returns the transfer before which as many bytes of output as lie between two watermarks follow
// `first`.
size_t next_watermark(const Execution& execution, size_t first) {
  const int64_t bytes = execution.watermark_bytes;
  if (bytes == 0) return execution.end();
  for (int64_t done = 0; first < execution.end() && done < bytes; ++first) {
    done += output_bytes_of(execution.transfers[first]);
  }
  return first;
}

}  // namespace

int64_t output_bytes(const std::vector<Transfer>& transfers, size_t first, size_t last) {
  int64_t bytes = 0;
  for (size_t i = first; i < last; ++i) bytes += output_bytes_of(transfers[i]);
  return bytes;
}

void execute(const Execution& execution, Progress& progress) {
  SliceQueue queue(execution.transfers, execution.options, execution.first);
  for (size_t next = execution.first; next < execution.end();) {
    const size_t begin = next;
    next = next_watermark(execution, begin);
    execution.sink.begin(begin, next);
    queue.open_until(next);
    drain(queue, execution, progress);
    if (execution.hooks.on_watermark) execution.hooks.on_watermark(next);
  }
  if (execution.finishes_reader) execution.reader.finish();
  execution.sink.finish();
}

}  // namespace bridge
