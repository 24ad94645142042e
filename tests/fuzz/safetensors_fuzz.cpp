// safetensors: the input is a whole file. What is accepted tiles its payload, and the header
// written from it reads back the same.
#include "bridge/io/hf/safetensors.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  fuzz::accepts([&] {
    bridge::MemoryBudget budget(fuzz::kMemory);
    const fuzz::MemoryFile file{std::string(input)};
    const bridge::SafetensorsHeader header = bridge::read_safetensors_header(file, budget);
    fuzz::require(header.payload_offset + header.payload_size == file.size());
    int64_t end = 0;
    for (const auto& entry : header.entries) {
      fuzz::require(entry.begin == end && entry.end >= entry.begin);
      fuzz::require(bridge::byte_size(entry.dtype, entry.shape) == entry.end - entry.begin);
      end = entry.end;
    }
    fuzz::require(end == header.payload_size);

    const std::string written = bridge::make_safetensors_header(header.entries, header.metadata);
    const auto again =
        bridge::parse_safetensors_header(std::string_view(written).substr(8), header.payload_size);
    fuzz::require(again.metadata == header.metadata);
    fuzz::require(again.entries.size() == header.entries.size());
    for (size_t i = 0; i < header.entries.size(); ++i) {
      fuzz::require(again.entries[i].begin == header.entries[i].begin &&
                    again.entries[i].end == header.entries[i].end);
    }
  });
}
