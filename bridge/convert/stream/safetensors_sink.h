// Writes the outputs of an export plan into their shards at their planned offsets, from any thread.
#pragma once

#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/convert/stream/written_crcs.h"
#include "bridge/io/file/file_pool.h"

namespace bridge {

class SafetensorsSink : public Sink {
 public:
  // Creates and allocates the shards in dir and writes their headers, or takes up those that are
  // there; reports kBadInput if one is missing or has another size.
  SafetensorsSink(FileSystem& fs, const Path& dir, const ExportPlan& plan, const Origin& origin,
                  OutputFiles files, MemoryBudget& budget);
  void begin(size_t first, size_t last) override;
  bool wants_crc(size_t index) const override { return index >= crc_from_; }
  void write(const Transfer& transfer, size_t index, int64_t begin, std::span<const std::byte> data,
             uint32_t crc) override;
  void write_scales(const Transfer& transfer, size_t index, int64_t begin,
                    std::span<const std::byte> data) override;
  void finish() override;

  // take_crc() returns the CRC of the outputs of the last transfers that begin() announced, from
  // crc_from() on. The CRC of all would cost 5% of the CPU time of an FP8 export, and 12% of one
  // that casts to F32.
  size_t crc_from() const { return crc_from_; }
  uint32_t take_crc() { return crcs_.take(); }
  // Reads the outputs of transfers [first, last) back and returns the same CRC of them.
  uint32_t crc_of(size_t first, size_t last);
  // Makes everything durable that was written before the call. Other threads may write meanwhile.
  void sync() { files_.sync(); }

 private:
  void create_files(FileSystem& fs, const Path& dir, const Origin& origin, MemoryBudget& budget);
  void write_at(int32_t output, int64_t byte_begin, std::span<const std::byte> data);
  void add_crc(int32_t output, int64_t byte_begin, std::span<const std::byte> data, uint32_t crc);
  int64_t size_of(int32_t output) const;
  int64_t offset_of(int32_t output) const;  // in its shard

  const ExportPlan& plan_;
  FilePool files_;
  WrittenCrcs crcs_;
  size_t crc_from_ = 0;
};

}  // namespace bridge
