// Writes the files around the weights of a Megatron checkpoint, as megatron-core, Megatron-LM and
// Megatron-Bridge expect them:
//
//   ROOT/iter_0000000/.metadata        chunks and _extra_state objects
//   ROOT/iter_0000000/common.pt        checkpoint_version 3.0, iteration, content_metadata, args,
//                                      and the sidecar's id (Megatron ignores that key)
//   ROOT/iter_0000000/run_config.yaml  Megatron-Bridge's model configuration
//   ROOT/iter_0000000/metadata.json    the format; written last in this folder
//   ROOT/release -> iter_0000000       makes `--load` look for no optimizer
//   ROOT/latest_checkpointed_iteration.txt   the tracker: "release"
//
// This does not write Megatron-Bridge's own tracker, latest_train_state.pt. Bridge reads it before
// the other, and Megatron-LM, which may train in the same folder, does not write it, so it would
// send Bridge back to the untrained weights. Without it Bridge follows the tracker that both keep
// (checkpointing.py, _resolve_checkpoint_iteration), "release" included.
//
// Truth: megatron/training/checkpointing.py, megatron/core/dist_checkpointing (0.16.1),
// Megatron-Bridge's training/utils/train_utils.py.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "bridge/convert/plan/convert_plan.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

constexpr std::string_view kIterationFolder = "iter_0000000";

// The files that write_metadata_files() writes.
constexpr std::array<std::string_view, 4> kMetadataFiles = {".metadata", "common.pt",
                                                            "metadata.json", "run_config.yaml"};

// Writes the files of the iteration folder and syncs them. dist_dir must already hold the data
// files. id: see conversion_id.h.
void write_metadata_files(FileSystem& fs, const Path& dist_dir, const ConvertPlan& plan,
                          std::string_view id);

// Writes the tracker and the release link. Where symlinks fail, the tracker names iteration 0.
void write_root_files(FileSystem& fs, const Path& root);

}  // namespace bridge
