// zip records and the torch items in them: whatever is accepted lies inside the file.
#include "bridge/io/torch_dist/torch_item.h"
#include "bridge/io/torch_dist/zip_record.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  const fuzz::MemoryFile file{std::string(input)};
  fuzz::accepts([&] {
    const bridge::ZipArchive archive = bridge::read_zip(file, 0, file.size());
    for (const auto& entry : archive.entries) {
      fuzz::require(entry.data_offset >= 0 && entry.size >= 0);
      fuzz::require(entry.data_offset <= file.size() - entry.size);
      fuzz::accepts([&] { bridge::read_zip_entry(file, archive, entry, 1 << 20); });
    }
  });
  fuzz::accepts([&] {
    const bridge::TensorItem item = bridge::read_tensor_item(file, 0, file.size());
    const int64_t bytes = bridge::byte_size(item.dtype, item.shape);
    fuzz::require(item.record_offset >= 0 && item.record_size >= 0);
    fuzz::require(item.record_offset <= file.size() - item.record_size);
    fuzz::require(item.data_offset >= item.record_offset);
    fuzz::require(bytes <= item.record_size - (item.data_offset - item.record_offset));
  });
  fuzz::accepts([&] {
    bridge::MemoryBudget budget(fuzz::kMemory);
    fuzz::require(bridge::read_object_item(file, 0, file.size(), budget) != nullptr);
  });
}
