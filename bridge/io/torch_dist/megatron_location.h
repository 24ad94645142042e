// Where in the file system a Megatron checkpoint is: root, iteration folder, and which kind it is.
//
//   1. path is an iteration folder itself (it holds .metadata or metadata.json): that one. Its
//      parent is the root when the folder is called iter_N or release, or the parent holds a
//      tracker or causeway/.
//   2. else, where NeMo's weights/ or model_weights/ in it is one: that one
//   3. else path is the root, and the iteration is: the one asked for; what the tracker says; the
//      highest iter_*.
//   4. Kinds that are not torch_dist are refused by name, with the remedy.
// Truth: megatron/training/checkpointing.py (read_metadata, get_checkpoint_name,
// _get_checkpoint_format).
#pragma once

#include <string>
#include <string_view>

#include "bridge/io/file/file_system.h"

namespace bridge {

struct MegatronLocation {
  Path root;
  Path dist_dir;
  std::string iteration;  // "release", "0", "1000"; empty: a bare folder
};

// iteration as for open_megatron. Nothing but names, the tracker and metadata.json is read.
MegatronLocation locate_megatron(FileSystem& fs, const Path& path, std::string_view iteration);

}  // namespace bridge
