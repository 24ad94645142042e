// The streaming executor hands slices of transfers, in order, to a few threads with fixed buffers.
// Each thread repeats four steps:
//
//   1. slice: take at most slice_bytes of the next transfer (in-order tickets). A slice of an
//      output that is quantized again is whole blocks (tile.h).
//   2. gather: read the slice's runs straight into the input buffer and take each run's CRC once.
//      Where each run would be one element, a slice is a box, which is gathered in memory (box.h).
//   3. convert: if source and output differ, dequantize or cast run by run. What that loses becomes
//      a witness.
//   4. sink: write or compare the slice at its place. The CRC of an unconverted slice is combined
//      from those of its runs.
//
// The memory is that of the threads' buffers, whatever the sizes of the tensors. The first error
// stops every thread and is rethrown. A run may begin with any transfer. Whenever watermark_bytes
// more have been written, it stands still for a moment: then all transfers below one are done and
// none above it has begun (bridge/convert/commit/journal.h).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/stream/tensor_reader.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/progress.h"
#include "bridge/io/number/block_codec.h"

namespace bridge {

// Whether a sink makes the files that it writes into.
enum class OutputFiles { kCreate, kTakeUp };

// Receives finished slices from several threads at once. begin counts elements of the output
// tensor.
class Sink {
 public:
  virtual ~Sink() = default;
  // Announces transfers [first, last), which end at the next watermark. Single-threaded.
  virtual void begin(size_t first, size_t last);
  // Whether write() needs the CRCs of this transfer's pieces; if not, it gets 0.
  virtual bool wants_crc(size_t /*index*/) const { return false; }
  virtual void write(const Transfer& transfer, size_t index, int64_t begin,
                     std::span<const std::byte> data, uint32_t crc) = 0;
  // Receives scales of an output that is quantized again, from scale number `begin` on.
  virtual void write_scales(const Transfer& transfer, size_t index, int64_t begin,
                            std::span<const std::byte> data);
  // Called from one thread after the last slice.
  virtual void finish() {}
};

// A run of a slice after its conversion.
struct Segment {
  int input;  // index into the transfer's inputs; Run::kZeros: none
  // The first element in the input or, of a scattered transfer, whose slices are one segment, in
  // the output.
  int64_t begin;
  int64_t length;
  std::span<const std::byte> source;  // in the input's dtype
  std::span<std::byte> result;        // in dtype transfer.to; a hook may change it
  std::span<const std::byte> scales;  // of a quantized input, for whole rows of blocks
  int64_t first_scale = 0;            // the number of the first of these scales
};

// Cuts a segment of a quantized input where the scale changes and calls fn(scale, source, result,
// begin); begin is the first element in the input.
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

// What a slice went through, for hooks such as the witnesses.
struct SliceView {
  const Transfer& transfer;
  size_t ticket;  // position of the slice in the whole order, from 0 without gaps
  int64_t begin;  // first element in the output tensor
  std::span<const Segment> segments;
};

// Counts the blocks of outputs that were quantized again, and the elements that the inverse alone
// does not restore.
struct BlockCounts {
  std::atomic<int64_t> kept{0};     // blocks that keep their scale
  std::atomic<int64_t> fresh{0};    // blocks with a new scale
  std::atomic<int64_t> clipped{0};  // fresh blocks with a value beyond the largest code
  // Elements that witnesses turned into the source's own.
  std::atomic<int64_t> witnesses{0};
};

// Elements of an output from `begin` on, all under one scale: their values, and the codes for
// these.
struct KeptCodes {
  const Transfer& transfer;
  int64_t begin;
  float scale;
  std::span<const std::byte> values;  // in the transfer's input dtype
  std::span<std::byte> codes;
};

struct ExecutorHooks {
  // Called from several threads when bytes of input tensor `index` were read, for the CRCs of the
  // source. Not called for scales.
  std::function<void(size_t index, int64_t byte_begin, int64_t length, uint32_t crc)> on_read;
  // Called from several threads for every slice after its conversion and before the sink. Not
  // called for tiles.
  std::function<void(const SliceView& slice)> on_slice;
  // Called for every row of a block that may keep its scale, twice where the block is read in
  // pieces. May replace codes with the source's own; returns how many bytes it changed.
  std::function<int64_t(const KeptCodes& kept)> on_kept_codes;
  // Returns how to go on if values are too large for the dtype they are cast to; empty: the hint of
  // a conversion.
  std::function<std::string(const Transfer&)> overflow_hint;
  // Called when all transfers below `next` are written and no thread reads or writes.
  std::function<void(size_t next)> on_watermark;
  // Called when a thread failed. A hook that waits for another thread's slice must stop waiting.
  std::function<void()> on_error;
  BlockCounts* blocks = nullptr;  // must be set if a transfer quantizes
};

// The size of a slice is a multiple of this. No element is larger than 8 bytes, so a cut every
// kSliceUnit / 8 elements of a transfer lies at the same places for any number of threads.
constexpr int64_t kSliceUnit = 64 << 10;

struct ExecutorOptions {
  int threads = 1;
  int64_t slice_bytes = 1 << 20;  // of input or output, whichever is larger
  // Likewise, for an output that is quantized again or scattered.
  int64_t tile_bytes = 1 << 20;
  int64_t reserved = 0;  // budget of the buffers; the caller releases it after the run
};

// Chooses threads and slice sizes that fit what is left of the budget, and reserves that. Errors:
// kUsage that names the size needed, if one thread and the largest block of the transfers do not
// fit.
ExecutorOptions plan_execution(int threads, const std::vector<Transfer>& transfers,
                               MemoryBudget& budget);

// The arguments of one run over transfers [first, end()).
struct Execution {
  const std::vector<Transfer>& transfers;
  TensorReader& reader;
  Sink& sink;
  ExecutorOptions options;
  ExecutorHooks hooks;
  std::function<std::string(int32_t target)> name_of;  // names a target in messages
  size_t first = 0;             // transfer to begin with; tickets begin at 0 all the same
  int64_t watermark_bytes = 0;  // of output between two calls of on_watermark; 0: only at the end
  size_t last = std::numeric_limits<size_t>::max();  // transfer to end before; beyond all: the end
  // Whether the reader completes what it has read parts of. Not if others read the rest.
  bool finishes_reader = true;

  size_t end() const { return std::min(last, transfers.size()); }
};

// Bytes that transfers [first, last) write, scales included.
int64_t output_bytes(const std::vector<Transfer>& transfers, size_t first, size_t last);

void execute(const Execution& execution, Progress& progress);

}  // namespace bridge
