// safetensors files: a header reader with every check of the reference reader, and a header writer.
//
// A file consists of N (8 bytes, little-endian), N bytes of JSON (which may end in spaces) and the
// payload. The JSON is
//   {"__metadata__": {str: str}, NAME: {"dtype": "BF16", "shape": [..], "data_offsets": [begin,
//   end]}, ...}
// Offsets are relative to the payload, tile it without holes or overlap, end at the end of the
// file, and agree with dtype and shape. N <= 100,000,000. Truth: safetensors/src/tensor.rs (0.8).
// Stricter than the reference: duplicate names, unknown keys in an entry and more than 64
// dimensions are errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

struct SafetensorsEntry {
  std::string name;
  Dtype dtype;
  Shape shape;
  int64_t begin;  // relative to the payload
  int64_t end;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;                      // in order of begin
  std::vector<std::pair<std::string, std::string>> metadata;  // __metadata__, in file order
  int64_t payload_offset = 0;                                 // 8 + N
  int64_t payload_size = 0;
  uint32_t crc = 0;  // CRC-32 of the 8 + N bytes, if they were read from a file
};

// In bytes.
constexpr size_t kLongestTensorName = 4096;

// Parses and checks the header text (the N bytes). payload_size is the number of bytes that the
// file holds after the header; -1 takes it from the entries (for headers kept in a sidecar, without
// their payload). Errors: kBadInput; kUnsupported for element types that the reference knows and we
// do not.
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t payload_size);

// Reads the header of an open file. Reserves the text from the budget while it is parsed, and the
// entries for as long as the caller keeps them (the caller releases nothing). Errors as above, with
// the file name in front.
SafetensorsHeader read_safetensors_header(const File& file, MemoryBudget& budget);

// Returns the 8 + N bytes verbatim (for the sidecar), at most 100 MB. Refuses a size that does not
// fit the budget now. Nothing stays reserved, because callers hold one header at a time.
std::string read_raw_safetensors_header(const File& file, MemoryBudget& budget);

// Returns the 8 + N bytes for these entries as the reference writer makes them: entries in the
// given order with the given begin and end, compact JSON, __metadata__ first if it is not empty,
// padded with spaces to a multiple of 8. Error: kUnsupported for more than 100,000,000 bytes.
std::string make_safetensors_header(
    const std::vector<SafetensorsEntry>& entries,
    const std::vector<std::pair<std::string, std::string>>& metadata);

// Returns indices into entries in the order in which the reference writer lays them out: the widest
// element type first (types of equal width in the reference's own order), then by name.
std::vector<size_t> safetensors_order(const std::vector<SafetensorsEntry>& entries);

}  // namespace bridge
