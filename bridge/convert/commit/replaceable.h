// What --overwrite may replace: what this program wrote for this output, and nothing else in it. A mistyped path must not
// cost its content, nor the iterations that training added beside ours.
//
//   1. Everything in the folder must have a name that this program gives there; the first that has not is named.
//   2. A checkpoint must also carry proof: an id in its common state, or a sidecar of a version without ids. Iterations of
//      training have the same names of files and no id.
//   3. A Hugging Face folder carries none, since it is the source's, byte for byte: the names are those that this export
//      writes, and shards.
#pragma once

#include <set>
#include <string>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Each: kUsage where `there`, which is not empty, is something else.
void check_checkpoint_is_ours(FileSystem& fs, const Path& there);
// ROOT/iter_0000000 or ROOT/causeway, whatever lies beside them.
void check_iteration_is_ours(FileSystem& fs, const Path& there);
void check_sidecar_is_ours(FileSystem& fs, const Path& there);
// names: of files, relative to the folder, that the export writes.
void check_model_is_ours(FileSystem& fs, const Path& there, const std::set<std::string>& names);

}  // namespace bridge
