// Finds a Megatron checkpoint in the file system: its root, its iteration folder and its kind.
//
//   1. If path is an iteration folder itself (it holds .metadata or metadata.json), use it. Its
//      parent is the root if the folder is called iter_N or release, or if the parent holds a
//      tracker or causeway/.
//   2. Else, if path contains NeMo's weights/ or model_weights/ and that is an iteration folder,
//      use that one.
//   3. Else path is the root. The iteration is the requested one, else the tracker's, else the
//      highest iter_*.
//   4. Refuse other kinds than torch_dist by name, with the remedy.
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

// iteration as for open_megatron. Reads only names, the tracker and metadata.json.
MegatronLocation locate_megatron(FileSystem& fs, const Path& path, std::string_view iteration);

}  // namespace bridge
