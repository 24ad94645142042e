// Writes the items of a convert plan into its .distcp files at their planned offsets, from any thread. An
// item's head and tail (zip headers, CRC, directory) are written when its last slice has arrived; a small item, of
// which a model may have tens of thousands, is written at once.
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
  // Creates and allocates the files in dir.
  TorchDistSink(FileSystem& fs, const Path& dir, const ConvertPlan& plan);
  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  void finish() override;  // every item is complete; the files are durable

 private:
  const ConvertPlan& plan_;
  FilePool files_;
  std::mutex mutex_;
  std::map<size_t, RangeCrc> open_items_;
  std::atomic<size_t> items_written_{0};
};

}  // namespace bridge
