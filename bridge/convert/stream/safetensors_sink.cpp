#include "bridge/convert/stream/safetensors_sink.h"

#include <algorithm>

#include "bridge/convert/stream/left_files.h"

namespace bridge {

SafetensorsSink::SafetensorsSink(FileSystem& fs, const Path& dir, const ExportPlan& plan,
                                 const Origin& origin, OutputFiles files, MemoryBudget& budget)
    : plan_(plan),
      files_(plan.shards.size(), pool_size(), FilePool::Use::kWrite,
             [&fs, &plan, dir](size_t index) {
               return fs.open_write(dir / plan.shards[index].name);
             }) {
  if (files == OutputFiles::kCreate) {
    create_files(fs, dir, origin, budget);
  } else {
    for (const ExportPlan::Shard& shard : plan.shards) {
      check_left_file(fs, dir / shard.name, shard.size);
    }
  }
}

void SafetensorsSink::create_files(FileSystem& fs, const Path& dir, const Origin& origin,
                                   MemoryBudget& budget) {
  for (size_t i = 0; i < plan_.shards.size(); ++i) {
    const ExportPlan::Shard& shard = plan_.shards[i];
    auto file = fs.create(dir / shard.name);
    file->allocate(shard.size);
    const bool verbatim = shard.verbatim >= 0;
    const std::string header =
        verbatim ? origin.raw_header(fs, static_cast<size_t>(shard.verbatim), budget)
                 : new_header(plan_, shard);
    file->write_at(0, std::as_bytes(std::span(header)));
    files_.put(i, std::move(file));
  }
}

void SafetensorsSink::begin(size_t first, size_t last) {
  constexpr int64_t kMost = 128'000'000;
  crc_from_ = last;
  if (first == 0 && last == plan_.transfers.size()) return;  // too short for a watermark
  while (crc_from_ > first && output_bytes(plan_.transfers, crc_from_ - 1, last) <= kMost) {
    --crc_from_;
  }
}

void SafetensorsSink::write(const Transfer& transfer, size_t index, int64_t begin,
                            std::span<const std::byte> data, uint32_t crc) {
  const int64_t byte_begin = bytes_of(transfer.to, begin);
  write_at(transfer.target, byte_begin, data);
  if (wants_crc(index)) add_crc(transfer.target, byte_begin, data, crc);
}

void SafetensorsSink::write_scales(const Transfer& transfer, size_t index, int64_t begin,
                                   std::span<const std::byte> data) {
  const int32_t output = transfer.requantize->scale_target;
  const int64_t byte_begin = begin * transfer.requantize->source.scale_bytes();
  write_at(output, byte_begin, data);
  if (wants_crc(index)) add_crc(output, byte_begin, data, crc32(data));
}

void SafetensorsSink::write_at(int32_t output, int64_t byte_begin,
                               std::span<const std::byte> data) {
  const auto shard = static_cast<size_t>(plan_.outputs[static_cast<size_t>(output)].shard);
  files_.get(shard)->write_at(offset_of(output) + byte_begin, data);
}

void SafetensorsSink::add_crc(int32_t output, int64_t byte_begin, std::span<const std::byte> data,
                              uint32_t crc) {
  crcs_.add(static_cast<size_t>(output), size_of(output),
            {byte_begin, static_cast<int64_t>(data.size()), crc});
}

int64_t SafetensorsSink::size_of(int32_t output) const {
  const ExportPlan::Output& written = plan_.outputs[static_cast<size_t>(output)];
  return byte_size(written.dtype, written.shape);
}

int64_t SafetensorsSink::offset_of(int32_t output) const {
  const ExportPlan::Output& written = plan_.outputs[static_cast<size_t>(output)];
  return plan_.shards[static_cast<size_t>(written.shard)].payload_offset + written.begin;
}

uint32_t SafetensorsSink::crc_of(size_t first, size_t last) {
  std::vector<int32_t> outputs;
  for (size_t i = first; i < last; ++i) {
    const Transfer& transfer = plan_.transfers[i];
    outputs.push_back(transfer.target);
    if (transfer.requantize) outputs.push_back(transfer.requantize->scale_target);
  }
  std::sort(outputs.begin(), outputs.end());
  uint32_t crc = 0;
  for (const int32_t output : outputs) {
    const auto shard = static_cast<size_t>(plan_.outputs[static_cast<size_t>(output)].shard);
    crc = crc_of_range(*files_.get(shard), offset_of(output), size_of(output), crc);
  }
  return crc;
}

void SafetensorsSink::finish() {
  files_.sync();
}

}  // namespace bridge
