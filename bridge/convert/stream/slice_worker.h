// The work of one executor thread on a slice: it gathers the runs, converts them and hands the
// result to the sink. Internal to the executor.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/algebra/tile.h"
#include "bridge/convert/stream/executor.h"

namespace bridge {

struct Slice {
  size_t transfer;
  size_t ticket;
  int64_t begin;  // elements of the output tensor
  int64_t end;
  std::optional<Tile> tile;  // instead of begin and end, where the transfer quantizes
};

// Owns the buffers of one thread. Not thread-safe.
class SliceWorker {
 public:
  SliceWorker(const Execution& execution, Progress& progress)
      : execution_(execution), progress_(progress) {}

  void run(const Slice& slice);

 private:
  using Buffer = std::vector<std::byte>;

  void run_elements(const Slice& slice);
  void run_tile(const Slice& slice);
  // The same for a tile that is one block, as wide as the matrix, and larger than the buffers.
  void run_large_block(const Slice& slice);
  // Reads the runs one after another into input_; returns the CRC of all where it is wanted or a
  // hook needs those of the runs.
  uint32_t gather(const Transfer& transfer, std::span<std::byte> input, bool wants_crc);
  // The same for the slice of a scattered transfer.
  uint32_t gather_scattered(const Slice& slice, std::span<std::byte> input, bool wants_crc);
  // Returns the number of values that are too large for the output's dtype.
  int64_t convert(const Transfer& transfer, std::span<const std::byte> input,
                  std::span<std::byte> output);
  // Reports kBadInput unless a hook replaced all `overflowed` values of segments_ by what the
  // source held.
  void check_overflow(const Transfer& transfer, int64_t overflowed);
  void convert_run(const Transfer& transfer, const Segment& segment, int64_t& overflowed);
  // Reads the scales of whole grid rows [first, last); returns them.
  std::span<const std::byte> read_scales(const BlockScales& scales, const BlockGrid& grid,
                                         int64_t first, int64_t last, Buffer& buffer, size_t at);
  static std::span<std::byte> sized(Buffer& buffer, int64_t bytes);

  const Execution& execution_;
  Progress& progress_;
  std::vector<Run> runs_;
  std::vector<Segment> segments_;
  Buffer input_;
  Buffer scratch_;
  Buffer output_;
  Buffer scales_;
  Buffer new_scales_;
};

}  // namespace bridge
