#include "bridge/convert/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "bridge/convert/interrupt.h"
#include "bridge/io/codec.h"
#include "bridge/io/crc32.h"

namespace bridge {
namespace {

struct Slice {
  size_t transfer;
  size_t ticket;
  int64_t begin;
  int64_t end;
};

// Hands out slices in order. Thread-safe.
class SliceQueue {
 public:
  SliceQueue(const std::vector<Transfer>& transfers, int64_t slice_bytes)
      : transfers_(transfers), slice_bytes_(slice_bytes) {}

  std::optional<Slice> next() {
    const std::lock_guard lock(mutex_);
    while (index_ < transfers_.size()) {
      const Transfer& transfer = transfers_[index_];
      const int64_t begin = transfer.begin + done_;
      if (begin == transfer.end) {
        ++index_;
        done_ = 0;
        continue;
      }
      // A multiple of two elements, so that sub-byte elements stay whole bytes.
      const int64_t bits = std::max(bits_of(transfer.from), bits_of(transfer.to));
      const int64_t most = slice_bytes_ * 8 / bits / 2 * 2;
      const int64_t end = std::min(transfer.end, begin + most);
      done_ += end - begin;
      return Slice{index_, ticket_++, begin, end};
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
  int64_t done_ = 0;
};

class Worker {
 public:
  Worker(const std::vector<Transfer>& transfers, TensorReader& reader, Sink& sink,
         const ExecutorOptions& options, const ExecutorHooks& hooks, Progress& progress,
         const std::function<std::string(int32_t)>& name_of)
      : transfers_(transfers),
        reader_(reader),
        sink_(sink),
        options_(options),
        hooks_(hooks),
        progress_(progress),
        name_of_(name_of) {}

  void run(const Slice& slice) {
    const Transfer& transfer = transfers_[slice.transfer];
    runs_.clear();
    transfer.runs(slice.begin, slice.end, runs_);
    const int64_t elements = slice.end - slice.begin;
    const auto in_bytes = static_cast<size_t>(bytes_of(transfer.from, elements));
    input_.resize(std::max(input_.size(), in_bytes));
    const std::span<std::byte> input(input_.data(), in_bytes);
    uint32_t crc = gather(transfer, input);

    std::span<std::byte> output = input;
    if (transfer.from != transfer.to) {
      const auto out_bytes = static_cast<size_t>(bytes_of(transfer.to, elements));
      output_.resize(std::max(output_.size(), out_bytes));
      output = std::span<std::byte>(output_.data(), out_bytes);
      int64_t overflowed = 0;
      cast_floats(transfer.from, input, transfer.to, output, overflowed);
      if (overflowed > 0) {
        bad_input(fmt::format("{}: {} of {} values are too large for {}",
                              printable(name_of_(transfer.target)), overflowed, elements,
                              safetensors_name(transfer.to)),
                  "use --dtype source or --dtype bf16");
      }
    }
    if (hooks_.on_slice) {
      hooks_.on_slice({transfer, slice.ticket, slice.begin, runs_, input, output});
    }
    if (output.data() != input.data() && options_.want_crc) crc = crc32(output);
    sink_.write(transfer, slice.transfer, slice.begin, output, crc);
    progress_.add(static_cast<int64_t>(output.size()));
  }

 private:
  uint32_t gather(const Transfer& transfer, std::span<std::byte> input) {
    const bool need_crc = hooks_.on_read || (options_.want_crc && transfer.from == transfer.to);
    uint32_t crc = 0;
    size_t filled = 0;
    for (const Run& run : runs_) {
      const auto length = static_cast<size_t>(bytes_of(transfer.from, run.length));
      const std::span<std::byte> into = input.subspan(filled, length);
      filled += length;
      if (run.input == Run::kZeros) {
        std::fill(into.begin(), into.end(), std::byte{0});
      } else {
        const auto index = static_cast<size_t>(transfer.inputs[static_cast<size_t>(run.input)]);
        const int64_t begin = bytes_of(transfer.from, run.begin);
        reader_.read(index, begin, into);
        if (need_crc) {
          const uint32_t run_crc = crc32(into);
          if (hooks_.on_read) hooks_.on_read(index, begin, static_cast<int64_t>(length), run_crc);
          crc = filled == length ? run_crc
                                 : crc32_combine(crc, run_crc, static_cast<int64_t>(length));
          continue;
        }
      }
      if (need_crc) crc = crc32(into, crc);
    }
    return crc;
  }

  const std::vector<Transfer>& transfers_;
  TensorReader& reader_;
  Sink& sink_;
  const ExecutorOptions& options_;
  const ExecutorHooks& hooks_;
  Progress& progress_;
  const std::function<std::string(int32_t)>& name_of_;
  std::vector<Run> runs_;
  std::vector<std::byte> input_;
  std::vector<std::byte> output_;
};

constexpr int64_t kLargestSlice = 1 << 20;  // fits the second-level cache; larger gains nothing
// Input, output, the reader's scratch and the witness check's: at most this many slices a thread.
constexpr int64_t kBuffersPerThread = 4;

}  // namespace

ExecutorOptions plan_execution(int threads, MemoryBudget& budget) {
  if (threads <= 0) {
    threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
  }
  const int64_t left = budget.left();
  const int64_t least = kBuffersPerThread * kSliceUnit;
  if (left < least) {
    usage_error(fmt::format("--memory {} is too small: {} are needed", size_text(budget.limit()),
                            size_text(budget.used() + least)),
                fmt::format("use --memory {}KiB or more", (budget.used() + least + 1023) / 1024));
  }
  threads = static_cast<int>(std::min<int64_t>(threads, left / least));
  const int64_t slice = std::min(kLargestSlice, left / threads / kBuffersPerThread);
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
      Worker worker(transfers, reader, sink, options, hooks, progress, name_of);
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
