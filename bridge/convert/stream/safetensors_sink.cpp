#include "bridge/convert/stream/safetensors_sink.h"

namespace bridge {

SafetensorsSink::SafetensorsSink(FileSystem& fs, const Path& dir, const ExportPlan& plan,
                                 const Origin& origin, MemoryBudget& budget)
    : plan_(plan) {
  for (const ExportPlan::Shard& shard : plan.shards) {
    files_.push_back(fs.create(dir / shard.name));
    files_.back()->allocate(shard.size);
    const bool verbatim = shard.verbatim >= 0;
    const std::string header =
        verbatim ? origin.raw_header(fs, static_cast<size_t>(shard.verbatim), budget)
                 : new_header(plan, shard);
    files_.back()->write_at(0, std::as_bytes(std::span(header)));
  }
}

void SafetensorsSink::write(const Transfer& transfer, size_t /*index*/, int64_t begin,
                            std::span<const std::byte> data, uint32_t /*crc*/) {
  write_at(transfer.target, bytes_of(transfer.to, begin), data);
}

void SafetensorsSink::write_scales(const Transfer& transfer, int64_t begin,
                                   std::span<const std::byte> data) {
  write_at(transfer.requantize->scale_target, begin * transfer.requantize->source.scale_bytes(),
           data);
}

void SafetensorsSink::write_at(int32_t index, int64_t byte_begin, std::span<const std::byte> data) {
  const ExportPlan::Output& output = plan_.outputs[static_cast<size_t>(index)];
  const auto shard = static_cast<size_t>(output.shard);
  files_[shard]->write_at(plan_.shards[shard].payload_offset + output.begin + byte_begin, data);
}

void SafetensorsSink::finish() {
  for (const auto& file : files_) file->sync();
}

}  // namespace bridge
