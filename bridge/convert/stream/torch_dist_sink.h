// Writes the items of a convert plan into its .distcp files at their planned offsets, from any
// thread.
//
// The head and tail of an item (zip headers, CRC, directory) are written when its last slice has
// arrived. A small item, of which a model may have tens of thousands, takes one write.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "bridge/convert/plan/convert_plan.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/io/file/file_pool.h"
#include "bridge/io/file/range_crc.h"

namespace bridge {

class TorchDistSink : public Sink {
 public:
  // Creates the files in dir and allocates them.
  TorchDistSink(FileSystem& fs, const Path& dir, const ConvertPlan& plan);
  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  // Requires that every item is complete, and syncs the files.
  void finish() override;

 private:
  const ConvertPlan& plan_;
  FilePool files_;
  std::mutex mutex_;
  std::map<size_t, RangeCrc> open_items_;
  std::atomic<size_t> items_written_{0};
};

}  // namespace bridge
