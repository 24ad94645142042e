// A Megatron-Core `torch_dist` checkpoint on disk: its iteration folder, `.metadata` and common
// state.
//
//   ROOT/latest_checkpointed_iteration.txt   "release" | "N"
//   ROOT/iter_0000000/ or ROOT/release/      .metadata  *.distcp  metadata.json  [common.pt]
//                                            [run_config.yaml]
// Also accepted: a bare folder with .metadata and metadata.json, and NeMo's folders, which contain
// such a folder (weights/, model_weights/) and have a prefix before every key (key_prefix.h). The
// common state is common.pt or (core >= 0.19) the object common_state/shard_0_1 inside the DCP
// data; both are read. DcpReader reads the bytes of the tensors. Truth:
// megatron/core/dist_checkpointing (0.16.1, 0.20), megatron/training/checkpointing.py.
#pragma once

#include <string>
#include <string_view>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/dcp_metadata.h"
#include "bridge/io/torch_dist/dcp_reader.h"

namespace bridge {

// The key of the common state under which a conversion stores its id.
constexpr std::string_view kConversionIdKey = "causeway_id";

struct MegatronFolder {
  Path root;               // where the tracker and causeway/ lie; equals dist_dir for a bare folder
  Path dist_dir;           // holds .metadata
  std::string iteration;   // "release", "0", "1000"; empty for a bare folder
  std::string key_prefix;  // removed from every key of metadata.tensors; usually empty
  DcpMetadata metadata;
  PickleValue common;           // dict; nullptr: none (checkpoints of plain torch DCP)
  bool has_run_config = false;  // dist_dir/run_config.yaml

  const DcpTensor* find(std::string_view key) const;
  // The id of the conversion that wrote this iteration; empty: no conversion, or a version without
  // ids, wrote it.
  std::string conversion_id() const;
};

// Reads the id from an iteration's common.pt alone. Returns "" also if there is no such file or
// torch did not write it.
std::string read_conversion_id(FileSystem& fs, const Path& dist_dir, MemoryBudget& budget);

// True if path looks like a Megatron checkpoint of any kind, unsupported kinds included.
bool looks_like_megatron(FileSystem& fs, const Path& path);

// iteration: "" (the tracker decides; without a tracker, the only or the latest iter_*), "latest"
// (the highest iter_*), "release", or a number. Every item named in .metadata must lie inside its
// file. Kinds that are recognised and refused by name with the remedy (kUnsupported): mp_rank_*
// (legacy torch), fsdp_dtensor / torch_dcp (.metadata without metadata.json), zarr, .nemo archives,
// modelopt_state (NVFP4 and other quantized models).
MegatronFolder open_megatron(FileSystem& fs, const Path& path, std::string_view iteration,
                             MemoryBudget& budget);

}  // namespace bridge
