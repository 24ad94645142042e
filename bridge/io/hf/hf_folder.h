// A Hugging Face model folder: config.json, one model.safetensors or an index with shards, and side
// files.
//
// Accepted: a folder with model.safetensors.index.json and its shards; a folder with
// model.safetensors and no index; a Hugging Face cache snapshot (.../snapshots/REV/, whose files
// are symlinks that may lead only into the same model's blobs/ folder); the cache's model folder
// itself (models--org--name: refs/main chooses the snapshot). Elsewhere a symlink may lead to any
// regular file; those that lead out of the folder are listed.
//
// Refused: weight_map names that are not one plain path component; symlinks to anything but regular
// files; tensors on which the index and the shards disagree (missing, extra, in another shard); one
// tensor in two shards; a model.safetensors beside an index that does not list it, or beside shards
// without an index; *.safetensors of other names without an index; pickled .bin weights
// (kUnsupported, with the remedy); files that are not regular. The folders .git and .cache are
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
  // CRC of the bytes before the payload, as they were when the folder was opened.
  uint32_t header_crc = 0;
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
  // Every regular file of at most 64 MiB outside the weight map that holds no weights, sorted;
  // config.json and the index are among them.
  std::vector<HfSideFile> side_files;
  // Larger files, and folders below the fourth level ("a/b/c/d/", size 0). They are listed but not
  // carried.
  std::vector<HfSideFile> large_side_files;
  // Other weights (weight_files.h), sorted; they are neither read nor carried.
  std::vector<HfSideFile> other_weights;
  std::vector<HfLink> links_out;  // sorted by name
  int64_t total_bytes = 0;        // payload of all tensors

  const HfTensor* find(std::string_view name) const;  // nullptr: not found
  bool has_file(std::string_view name) const;         // true for side files
};

// True if open_hf_folder would accept path or refuse it with a remedy. Cheap: it reads no file.
bool looks_like_hf_folder(FileSystem& fs, const Path& path);

// Reads every shard's header. Errors: kBadInput "file: tensor: what", kUnsupported, kIo.
HfFolder open_hf_folder(FileSystem& fs, const Path& path, MemoryBudget& budget);

// Like open_hf_folder, for a folder that only gives the configuration (--reference): weights may be
// absent. If there are weights, tensors and shards are filled as above. An index without any of its
// shards counts as absent weights, with has_index true.
HfFolder open_hf_reference(FileSystem& fs, const Path& path, MemoryBudget& budget);

// True for a name that a shard may have: one path component of [A-Za-z0-9._-]{1,255}, not "." or
// "..".
bool is_safe_file_name(std::string_view name);
// True for a name that a side file may have when it is written: components separated by '/', none
// of which is empty, "." or "..", without control characters or backslashes.
bool is_safe_relative_path(std::string_view name);

}  // namespace bridge
