// Writes the items of a convert plan into its .distcp files at their planned offsets, from any
// thread.
//
// The head and tail of an item (zip headers, CRC, directory) are written when its last slice has
// arrived. A small item, of which a model may have tens of thousands, takes one write.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bridge/convert/plan/convert_plan.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/convert/stream/written_crcs.h"
#include "bridge/io/file/file_pool.h"

namespace bridge {

class TorchDistSink : public Sink {
 public:
  // Writes items [first, last) of the plan into the files in dir. Creates and allocates them, or
  // takes up those that are there; reports kBadInput if one is missing or has another size.
  TorchDistSink(FileSystem& fs, const Path& dir, const ConvertPlan& plan, size_t first, size_t last,
                OutputFiles files);
  void begin(size_t first, size_t /*last*/) override { crc_from_ = first; }
  bool wants_crc(size_t /*index*/) const override { return true; }
  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  // Requires that every item of the range is complete, and syncs the files.
  void finish() override;

  // take_crc() returns the CRC of the tensors' bytes in the items written since its last call, from
  // item crc_from() on.
  size_t crc_from() const { return crc_from_; }
  uint32_t take_crc() { return crcs_.take(); }
  // Reads items [first, last) back and returns the same CRC of them.
  uint32_t crc_of(size_t first, size_t last);
  // Makes everything durable that was written before the call. Other threads may write meanwhile.
  void sync() { files_.sync(); }

 private:
  void create_files(FileSystem& fs, const Path& dir);

  const ConvertPlan& plan_;
  const size_t last_;
  FilePool files_;
  WrittenCrcs crcs_;
  size_t crc_from_ = 0;
  std::atomic<size_t> items_written_;
};

}  // namespace bridge
