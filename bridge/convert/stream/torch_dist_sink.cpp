#include "bridge/convert/stream/torch_dist_sink.h"

#include <string_view>

#include "bridge/convert/stream/left_files.h"
#include "bridge/io/torch_dist/torch_item.h"

namespace bridge {
namespace {

constexpr int64_t kSmallItem = 64 << 10;  // up to this size a copy is cheaper than two more writes

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TorchDistSink::TorchDistSink(FileSystem& fs, const Path& dir, const ConvertPlan& plan, size_t first,
                             size_t last, OutputFiles files)
    : plan_(plan),
      last_(last),
      files_(plan.files.size(), pool_size(), FilePool::Use::kWrite,
             [&fs, &plan, dir](size_t index) { return fs.open_write(dir / plan.files[index]); }),
      items_written_(first) {
  if (files == OutputFiles::kCreate) {
    create_files(fs, dir);
  } else {
    for (size_t i = 0; i < plan.files.size(); ++i) {
      check_left_file(fs, dir / plan.files[i], plan.file_sizes[i]);
    }
  }
}

void TorchDistSink::create_files(FileSystem& fs, const Path& dir) {
  for (size_t i = 0; i < plan_.files.size(); ++i) {
    auto file = fs.create(dir / plan_.files[i]);
    file->allocate(plan_.file_sizes[i]);
    if (i == 0) file->write_at(0, bytes(plan_.extra_state_item));
    files_.put(i, std::move(file));
  }
}

void TorchDistSink::write(const Transfer& transfer, size_t index, int64_t begin,
                          std::span<const std::byte> data, uint32_t crc) {
  const ConvertPlan::Item item = plan_.items[index];
  const DcpTensor& tensor = plan_.tensors[static_cast<size_t>(item.tensor)];
  const DcpChunk& chunk = tensor.chunks[static_cast<size_t>(item.chunk)];
  const ZipLayout layout = tensor_item_layout(tensor.dtype, chunk.sizes);
  const int64_t size = bytes_of(tensor.dtype, transfer.end - transfer.begin);
  const auto length = static_cast<int64_t>(data.size());
  const std::shared_ptr<File> file = files_.get(static_cast<size_t>(chunk.file));
  const int64_t offset = bytes_of(tensor.dtype, begin - transfer.begin);
  const std::optional<uint32_t> item_crc = crcs_.add(index, size, {offset, length, crc});
  if (length == size && length <= kSmallItem) {
    const std::string head = layout.head();
    const std::string tail = layout.tail(crc);
    std::string whole;
    whole.reserve(head.size() + data.size() + tail.size());
    whole += head;
    whole.append(reinterpret_cast<const char*>(data.data()), data.size());
    whole += tail;
    file->write_at(chunk.offset, bytes(whole));
    ++items_written_;
    return;
  }
  file->write_at(chunk.offset + layout.streamed_offset() + offset, data);
  if (!item_crc) return;
  const std::string tail = layout.tail(*item_crc);
  file->write_at(chunk.offset, bytes(layout.head()));
  file->write_at(chunk.offset + chunk.length - std::ssize(tail), bytes(tail));
  ++items_written_;
}

uint32_t TorchDistSink::crc_of(size_t first, size_t last) {
  uint32_t crc = 0;
  for (size_t i = first; i < last; ++i) {
    const DcpTensor& tensor = plan_.tensors[static_cast<size_t>(plan_.items[i].tensor)];
    const DcpChunk& chunk = tensor.chunks[static_cast<size_t>(plan_.items[i].chunk)];
    const ZipLayout layout = tensor_item_layout(tensor.dtype, chunk.sizes);
    crc = crc_of_range(*files_.get(static_cast<size_t>(chunk.file)),
                       chunk.offset + layout.streamed_offset(),
                       byte_size(tensor.dtype, chunk.sizes), crc);
  }
  return crc;
}

void TorchDistSink::finish() {
  if (items_written_ != last_) internal_error("an item was not written to its end");
  files_.sync();
}

}  // namespace bridge
