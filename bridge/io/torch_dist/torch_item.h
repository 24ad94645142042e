// One torch.save archive that holds one tensor (an item of a .distcp file) or one plain object.
//
//   archive/data.pkl   protocol-2 pickle of the tensor: _rebuild_tensor_v2 (typed storage) or
//                      _v3 (untyped storage, numel in bytes, dtype last)
//   archive/byteorder  "little"
//   archive/data/0     raw contiguous bytes
//   archive/version    "3\n"
// Truth: torch/serialization.py, torch/_utils.py (2.11).
#pragma once

#include <cstdint>
#include <string>

#include "bridge/io/file/file_system.h"
#include "bridge/io/number/dtype.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/zip_record.h"

namespace bridge {

struct TensorItem {
  Dtype dtype;
  Shape shape;
  int64_t data_offset;    // absolute in the file: first byte of the first element
  int64_t record_offset;  // absolute: first byte of the storage record
  int64_t record_size;    // bytes of the storage record (may be larger than the tensor)
  uint32_t record_crc;
  bool has_crc;  // false: written without CRCs
};

// Reads and checks the archive at [offset, offset+length): version, byteorder, record size == numel
// * itemsize exactly, tensor inside its storage, contiguous strides (dimensions of size 1 may have
// any; others: kUnsupported).
TensorItem read_tensor_item(const File& file, int64_t offset, int64_t length);

// Reads the object of an archive without tensors, or with tensors left as kPersistent nodes
// (common.pt).
PickleValue read_object_item(const File& file, int64_t offset, int64_t length,
                             MemoryBudget& budget);

// The archive of a contiguous tensor; the payload is streamed.
ZipLayout tensor_item_layout(Dtype dtype, const Shape& shape);
// The archive of an object given as a protocol-2 pickle. prefix: "archive" in .distcp, the file's
// stem in a file.
std::string object_item(std::string pickle, const std::string& prefix);

}  // namespace bridge
