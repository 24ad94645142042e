// A Hugging Face model folder: config.json, one model.safetensors or an index with shards, and
// side files.
//
// Accepted: a folder with model.safetensors.index.json and its shards; a folder with
// model.safetensors and no index; a Hugging Face cache snapshot (…/snapshots/REV/ whose files are
// symlinks; they may lead only into the same model's blobs/ folder); the cache's model folder
// itself (models--org--name: refs/main chooses the snapshot). Elsewhere a symlink may lead to any
// regular file; those that lead out of the folder are listed.
//
// Refused: weight_map names that are not one plain path component, symlinks to anything but regular
// files, tensors that the index and the shards do not agree on (missing, extra, in another shard),
// the same tensor in two shards, a model.safetensors beside an index that does not list it, or
// beside shards without an index, *.safetensors of other names without one, pickled .bin weights
// (kUnsupported, with the remedy), files that are not regular. The folders .git and .cache are
// skipped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/number/dtype.h"

namespace bridge {

struct HfShard {
  std::string name;  // file name
  int64_t file_size;
  int64_t payload_offset;
};

struct HfTensor {
  std::string name;
  Dtype dtype;
  Shape shape;
  int32_t shard;
  int64_t begin;  // relative to the shard's payload
  int64_t end;
};

struct HfSideFile {
  std::string name;  // relative to the folder, '/' separated, at most 4 levels deep
  int64_t size;
};

// A symlink whose file lies outside the folder.
struct HfLink {
  std::string name;    // as of a side file
  std::string target;  // the file's own path
};

struct HfFolder {
  Path path;                      // the folder that holds config.json
  std::vector<HfShard> shards;    // by name
  std::vector<HfTensor> tensors;  // by name
  bool has_index = false;         // model.safetensors.index.json
  std::vector<HfSideFile>
      side_files;  // every regular file outside the weight map up to 64 MiB that
                   // holds no weights, sorted; config.json and the index are
                   // among them
  std::vector<HfSideFile> large_side_files;  // larger ones, and folders below the fourth level
                                             // ("a/b/c/d/", size 0): listed, not carried
  std::vector<HfSideFile> other_weights;     // see weight_files.h, sorted: neither read nor carried
  std::vector<HfLink> links_out;             // sorted by name
  int64_t total_bytes = 0;                   // payload of all tensors

  const HfTensor* find(std::string_view name) const;  // nullptr: not there
  bool has_file(std::string_view name) const;         // a side file
};

// True when path looks like something open_hf_folder would take, or refuse with a remedy (cheap; no
// file is read).
bool looks_like_hf_folder(FileSystem& fs, const Path& path);

// Reads every shard's header. Errors: kBadInput "file: tensor: what", kUnsupported, kIo.
HfFolder open_hf_folder(FileSystem& fs, const Path& path, MemoryBudget& budget);

// As open_hf_folder, for a folder that only gives configuration (--reference): weights may be
// absent. With weights present, tensors and shards are filled as above; an index none of whose
// shards is there counts as absent weights, with has_index true.
HfFolder open_hf_reference(FileSystem& fs, const Path& path, MemoryBudget& budget);

// One path component of [A-Za-z0-9._-]{1,255}, not "." or "..": what a shard may be called.
bool is_safe_file_name(std::string_view name);
// '/'-separated components, none empty, "." or "..", no control characters, no backslash: what a
// side file may be called when it is written.
bool is_safe_relative_path(std::string_view name);

}  // namespace bridge
