// The `.metadata` pickle of torch.distributed.checkpoint: which tensor chunk lies where.
//
//   Metadata{state_dict_metadata: {fqn: TensorStorageMetadata{properties, size, chunks} |
//   BytesStorageMetadata},
//            storage_data: {MetadataIndex{fqn, offset}: _StorageInfo{relative_path, offset,
//            length}}, ...}
// Decoded as a stream: entries of optimizers, RNG and the like (is_training_state) are dropped as
// they are read, so a training checkpoint costs no more than its weights. Truth:
// torch/distributed/checkpoint/{metadata,filesystem}.py.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

// Of the Metadata object that is written: torch.distributed.checkpoint.metadata.
constexpr std::string_view kDcpMetadataVersion = "1.0.0";

struct DcpChunk {
  Shape offsets;
  Shape sizes;
  int32_t file;    // index into DcpMetadata::files
  int64_t offset;  // of the item (a whole archive) in the file
  int64_t length;
};

struct DcpTensor {
  std::string key;
  Dtype dtype;
  Shape shape;
  std::vector<DcpChunk> chunks;  // by offsets; they tile the tensor exactly
};

struct DcpObject {
  std::string key;
  int32_t file;
  int64_t offset;
  int64_t length;
};

struct DcpMetadata {
  std::vector<std::string> files;  // relative paths, checked: no "..", not absolute
  std::vector<DcpTensor> tensors;  // by key
  std::vector<DcpObject> objects;  // those kept: common_state/*; by key
  int64_t dropped_tensors = 0;     // training state
  int64_t dropped_objects = 0;     // _extra_state, rng and other objects
};

// optimizer., chained_N.optimizer., rng_state, opt_param_scheduler, rerun_state_machine_state, ...:
// entries of a training checkpoint that are not weights.
bool is_training_state(std::string_view key);

// Errors (kBadInput): forbidden class, chunk without storage entry or the reverse, overlap, gap,
// chunk outside the tensor, unsafe path, compressed item (transform_descriptors: kUnsupported).
DcpMetadata read_dcp_metadata(const File& file, MemoryBudget& budget);

// Writes `.metadata` (protocol 4; fields state_dict_metadata, planner_data=None, storage_data,
// version kDcpMetadataVersion) in pieces through out. objects may share byte ranges. Deterministic.
void write_dcp_metadata(const std::vector<std::string>& files,
                        const std::vector<DcpTensor>& tensors,
                        const std::vector<DcpObject>& objects,
                        const std::function<void(std::string_view)>& out);

}  // namespace bridge
