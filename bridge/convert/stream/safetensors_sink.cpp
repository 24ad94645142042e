#include "bridge/convert/stream/safetensors_sink.h"

namespace bridge {

SafetensorsSink::SafetensorsSink(FileSystem& fs, const Path& dir, const ExportPlan& plan,
                                 const Origin& origin, MemoryBudget& budget)
    : plan_(plan),
      files_(plan.shards.size(), pool_size(), FilePool::Use::kWrite,
             [&fs, &plan, dir](size_t index) {
               return fs.open_write(dir / plan.shards[index].name);
             }) {
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    const ExportPlan::Shard& shard = plan.shards[i];
    auto file = fs.create(dir / shard.name);
    file->allocate(shard.size);
    const bool verbatim = shard.verbatim >= 0;
    const std::string header =
        verbatim ? origin.raw_header(fs, static_cast<size_t>(shard.verbatim), budget)
                 : new_header(plan, shard);
    file->write_at(0, std::as_bytes(std::span(header)));
    files_.put(i, std::move(file));
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
  files_.get(shard)->write_at(plan_.shards[shard].payload_offset + output.begin + byte_begin, data);
}

void SafetensorsSink::finish() {
  files_.sync();
}

}  // namespace bridge
