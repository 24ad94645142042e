// The files of a Hugging Face folder, and where its symlinks may lead.
//
//   1. A cache model folder (models--org--name: refs/main, snapshots/REV/, blobs/) stands for
//      the snapshot that refs/main names.
//   2. The files of a snapshot are symlinks to ../../blobs/HASH; each must resolve to a file
//      directly in the blobs folder of that model. Anywhere else a symlink may lead to any regular
//      file (folders of links save disk space); those that lead out of the folder are listed.
//   3. Subfolders are read to a depth of four names; .git and .cache (Git's and
//      huggingface_hub's own) are skipped.
//
// Truth: huggingface_hub/file_download.py (_create_symlink, the docs' "Understand caching").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// path, or the snapshot that stands for it when path is a cache model folder. Error: kBadInput.
Path resolve_hf_path(FileSystem& fs, const Path& path);

struct HfFiles {
  std::vector<HfSideFile> files;      // every regular file, sorted by name
  std::vector<std::string> too_deep;  // folders that were not read, sorted
  std::vector<HfLink> links_out;      // sorted by name
};

// Errors: kBadInput for symlinks out of bounds, files that are not regular, and names that could
// not be written back. What is returned stays reserved.
HfFiles list_hf_files(FileSystem& fs, const Path& folder, MemoryBudget& budget);

}  // namespace bridge
