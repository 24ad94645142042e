// convert-hf turns a Hugging Face folder into a Megatron-Core checkpoint with a sidecar.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/match/accounting.h"
#include "bridge/convert/options.h"
#include "bridge/convert/report.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/folder_size.h"

namespace bridge {

struct ConvertSummary : Report {
  Path source;
  size_t source_tensors = 0;
  size_t source_shards = 0;
  int64_t source_bytes = 0;
  std::string table;
  bool per_layer_keys = false;
  bool hybrid = false;  // --layout hybrid
  Path target;
  size_t target_tensors = 0;
  size_t target_files = 0;
  int64_t target_bytes = 0;
  std::vector<NamedReason> dropped;
  struct DroppedMtp {
    std::string prefix;
    size_t tensors = 0;
  };
  std::vector<DroppedMtp> dropped_mtp;  // left out by --mtp drop
  size_t quantized_tensors = 0;         // they become main_dtype
  Dtype main_dtype = Dtype::kBF16;
  BesideModel beside;
  std::optional<FolderSize> sidecar;  // nullopt: not written
  int64_t witness_bytes = 0;          // source bytes that the target cannot hold
};

// Writes the complete output under options.target, or leaves options.target as it was. Errors: see
// bridge/io/base/error.h.
ConvertSummary convert_hf(FileSystem& file_system, const ConvertOptions& options);

}  // namespace bridge
