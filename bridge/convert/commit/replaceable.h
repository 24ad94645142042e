// Decides what --overwrite may replace: a folder that holds only what this program wrote for this
// output. A mistyped path must not cost its content, nor the iterations that training added beside
// ours.
//
//   1. Everything in the folder must have a name that this program gives there; the error names the
//      first that does not.
//   2. A checkpoint must also carry proof: an id in its common state, or a sidecar of a version
//      without ids. An iteration that training wrote has the same file names and no id.
//   3. A Hugging Face folder carries no proof, because it equals the source byte for byte. It may
//      hold shards and the names that this export writes.
#pragma once

#include <set>
#include <string>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Each reports kUsage if `there`, which must not be empty, is something else.
void check_checkpoint_is_ours(FileSystem& fs, const Path& there);
// These two check ROOT/iter_0000000 or ROOT/causeway, whatever lies beside it.
void check_iteration_is_ours(FileSystem& fs, const Path& there);
void check_sidecar_is_ours(FileSystem& fs, const Path& there);
// names: the files that the export writes, relative to the folder.
void check_model_is_ours(FileSystem& fs, const Path& there, const std::set<std::string>& names);

}  // namespace bridge
