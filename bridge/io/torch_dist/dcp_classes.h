// The classes of torch.distributed.checkpoint found in `.metadata`, turned from pickle nodes into
// plain values.
//
//   TensorStorageMetadata  state {properties: TensorProperties, size: Size,
//                                 chunks: [ChunkStorageMetadata]}
//   TensorProperties       state (dtype, layout, requires_grad, memory format, pin_memory)
//   ChunkStorageMetadata   state {offsets: Size, sizes: Size}
//   MetadataIndex          state {fqn: str, offset: Size | None, index}
//   _StorageInfo           state {relative_path: str, offset: int, length: int
//                                 [, transform_descriptors]}
//
// Truth: torch/distributed/checkpoint/metadata.py and filesystem.py, 2.2 to 2.11.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/dcp_metadata.h"

namespace bridge {

// Every class that `.metadata` may name. The classes of planners occur in checkpoints of
// megatron-core up to 0.15 (mcore_data, all_local_plans); they are decoded and ignored.
std::vector<std::pair<std::string, std::string>> dcp_classes();

bool is_dcp_metadata(const PickleNode& node);
bool is_dcp_object(const PickleNode& value);  // BytesStorageMetadata

// The functions below throw the bare fact (kBadInput; kUnsupported for dtypes, layouts, compressed
// items).

// Converts a TensorStorageMetadata. The chunks have no files yet and keep the order found; key is
// empty.
DcpTensor dcp_tensor_of(const PickleNode& value);

struct DcpIndex {
  const std::string* key;
  bool is_object;  // no offset: a pickled object
  Shape offsets;
};
DcpIndex dcp_index_of(const PickleNode& key);

struct DcpLocation {
  const std::string* relative_path;  // checked: stays inside the folder
  int64_t offset;
  int64_t length;
};
DcpLocation dcp_location_of(const PickleNode& value);

}  // namespace bridge
