// Writes the outputs of an export plan into their shards at their planned offsets, from any thread.
#pragma once

#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/io/file/file_pool.h"

namespace bridge {

class SafetensorsSink : public Sink {
 public:
  // Creates the shards in dir, allocates them and writes their headers.
  SafetensorsSink(FileSystem& fs, const Path& dir, const ExportPlan& plan, const Origin& origin,
                  MemoryBudget& budget);
  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  void write_scales(const Transfer& transfer, int64_t begin,
                    std::span<const std::byte> data) override;
  void finish() override;

 private:
  void write_at(int32_t output, int64_t byte_begin, std::span<const std::byte> data);

  const ExportPlan& plan_;
  FilePool files_;
};

}  // namespace bridge
