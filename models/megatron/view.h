// A torch_dist checkpoint, read as Megatron-Core would read it. The keys of .metadata, the layouts
// and the configuration are read here without the converter's tables, ops and key naming, so that a
// mistake in those shows.
// Truth: the sources that layout.h, vision.h and config.h list.
#pragma once

#include <memory>
#include <string_view>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/weights/weights.h"

namespace models {

// Opens the checkpoint and checks it against its configuration (run_config.yaml, else the args of
// the common state): tensors that are missing, unknown or of another shape are kBadInput by name.
//   iteration   as for bridge::open_megatron
//   budget      for .metadata; must outlive the result
//   run_config  the configuration for a checkpoint without run_config.yaml (kUsage if it has one);
//               empty: none
std::unique_ptr<Weights> open_megatron_weights(bridge::FileSystem& fs, const bridge::Path& path,
                                               std::string_view iteration,
                                               bridge::MemoryBudget& budget,
                                               const bridge::Path& run_config = {});

}  // namespace models
