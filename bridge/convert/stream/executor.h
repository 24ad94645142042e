// The streaming executor: slices of transfers, in order, to a few threads with fixed buffers.
//
//   1. slice    the next at most slice_bytes of the next transfer (in-order tickets); of an output that is
//               quantized again, whole blocks (tile.h)
//   2. gather   the slice's runs are read straight into the input buffer; each run's CRC is taken once
//   3. convert  only where something differs: dequantized or cast run by run; what that loses becomes a witness
//   4. sink     written, or compared, at its place; the CRC of an unconverted slice is combined from its runs'
//
// Memory: threads * buffers, whatever the tensors' sizes. The first error stops every thread; it is rethrown.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/stream/tensor_reader.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/progress.h"
#include "bridge/io/number/block_codec.h"

namespace bridge {

// Receives finished slices, from several threads at once. begin is in elements of the output tensor.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const Transfer& transfer, size_t index, int64_t begin,
                     std::span<const std::byte> data, uint32_t crc) = 0;
  // Scales of an output that is quantized again, from number `begin` on.
  virtual void write_scales(const Transfer& transfer, int64_t begin,
                            std::span<const std::byte> data);
  // After the last slice of everything; single-threaded.
  virtual void finish() {}
};

// A run of a slice after its conversion.
struct Segment {
  int input;      // of the transfer; Run::kZeros: none
  int64_t begin;  // first element in the input
  int64_t length;
  std::span<const std::byte> source;  // dtype of the input
  std::span<std::byte> result;        // dtype transfer.to; a hook may change it
  std::span<const std::byte> scales;  // of a quantized input: those of whole rows of blocks
  int64_t first_scale = 0;            // number of the first of them
};

// Cuts a segment of a quantized input where the scale changes: fn(scale, source, result, begin), begin being the
// first element in the input.
template <typename Fn>
void for_each_scaled_run(const Transfer& transfer, const Segment& segment, Fn&& fn) {
  const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
  const BlockGrid grid(from.scales, transfer.layout->part_shape(segment.input));
  const auto part = [&](auto all, Dtype dtype, int64_t begin, int64_t length) {
    return all.subspan(static_cast<size_t>(bytes_of(dtype, begin - segment.begin)),
                       static_cast<size_t>(bytes_of(dtype, length)));
  };
  grid.for_each_run(segment.begin, segment.begin + segment.length,
                    [&](int64_t number, int64_t begin, int64_t length) {
                      const int64_t at = (number - segment.first_scale) * from.scales.scale_bytes();
                      fn(load_scale(from.scales.dtype, segment.scales.data() + at),
                         part(segment.source, from.dtype, begin, length),
                         part(segment.result, transfer.to, begin, length), begin);
                    });
}

// What a slice went through, for witnesses.
struct SliceView {
  const Transfer& transfer;
  size_t ticket;  // position of the slice in the whole order, from 0 without gaps
  int64_t begin;  // elements of the output tensor
  std::span<const Segment> segments;
};

// What became of the blocks of outputs that were quantized again, and of elements that need more than the inverse.
struct BlockCounts {
  std::atomic<int64_t> kept{0};     // with the scale they had
  std::atomic<int64_t> fresh{0};    // with a new one
  std::atomic<int64_t> clipped{0};  // of these: a value was beyond the largest code
  std::atomic<int64_t> witnesses{
      0};  // elements that became the source's own, which the inverse does not give
};

// Elements of an output from `begin` on, all under one scale: what they are worth, and the codes that say it.
struct KeptCodes {
  const Transfer& transfer;
  int64_t begin;
  float scale;
  std::span<const std::byte> values;  // of the transfer's input dtype
  std::span<std::byte> codes;
};

struct ExecutorHooks {
  // Bytes of input tensor `index` were read: for source CRCs. Called from several threads. Scales are not reported.
  std::function<void(size_t index, int64_t byte_begin, int64_t length, uint32_t crc)> on_read;
  // Called for every slice after the conversion, from several threads, before the sink. Not for tiles.
  std::function<void(const SliceView& slice)> on_slice;
  // Offered for every row of a tile whose block keeps its scale: may replace codes by the source's own.
  std::function<void(const KeptCodes& kept)> on_kept_codes;
  // A thread failed: whoever waits for another thread's slice must stop waiting.
  std::function<void()> on_error;
  BlockCounts* blocks = nullptr;  // needed where a transfer quantizes
};

// The size of a slice is a multiple of this, so a cut every kSliceUnit / 8 elements of a transfer is at the same
// places for any number of threads (no element is larger than 8 bytes).
constexpr int64_t kSliceUnit = 64 << 10;

struct ExecutorOptions {
  int threads = 1;
  int64_t slice_bytes = 1 << 20;  // of input or output, whichever is larger
  int64_t tile_bytes = 1 << 20;   // likewise, of an output that is quantized again
  bool want_crc = true;           // false: Sink::write gets 0
  int64_t reserved = 0;           // of the budget, for the buffers; released by whoever ran them
};

// Threads and slice size that fit what is left of the budget; reserves them. Too little for one thread and the
// largest block of the transfers: usage error naming the size needed.
ExecutorOptions plan_execution(int threads, const std::vector<Transfer>& transfers,
                               MemoryBudget& budget);

// One run: what goes from where to where, and how.
struct Execution {
  const std::vector<Transfer>& transfers;
  TensorReader& reader;
  Sink& sink;
  ExecutorOptions options;
  ExecutorHooks hooks;
  std::function<std::string(int32_t target)> name_of;  // for messages
};

void execute(const Execution& execution, Progress& progress);

}  // namespace bridge
