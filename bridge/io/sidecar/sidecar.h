// The sidecar ROOT/causeway/: what a Megatron checkpoint cannot hold of its Hugging Face source, so that an
// export gives back the same files.
//
//   manifest.json       format, tool version, choices of the conversion, its id, source shards, files with their CRCs, and
//                       those of the small files of the iteration that was written with it
//   headers/SHARD       the 8 + N header bytes of each source shard, verbatim
//   files/NAME          side files (config, tokenizer, index, ...), verbatim
//   source_crc32.tsv    one line a source tensor, by name: CRC-32 of its bytes ("--------" for one that was left
//                       out and not read), byte size, name
//   witnesses.bin       see witness_file.h
// It lies beside the iter_* folders, so iterations that training adds later find it. Everything in it is checked
// like any other input. The format is our own (format 1).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

constexpr std::string_view kSidecarFolder = "causeway";

struct SidecarFile {
  std::string name;
  int64_t size;
  uint32_t crc;
};

struct Sidecar {
  Path path;
  std::string version;             // of the tool that wrote it
  nlohmann::ordered_json choices;  // what bridge/convert recorded: spec, layer keys, ...
  HfFolder source;                 // shards, tensors and side files as they were; path is empty
  std::vector<SidecarFile> files;  // side files, same order as source.side_files
  std::vector<std::string> large_files;  // names of side files too large to carry
  std::string identity;                  // SHA-256 over shard names and headers
  std::string id;                        // of the conversion; "": written by a version without ids
  std::vector<SidecarFile> checkpoint_files;  // small files of the iteration written with it
  uint32_t witness_crc = 0;
  bool has_witnesses = false;

  Path header_path(size_t shard) const;
  Path file_path(size_t file) const;
  Path witness_path() const;
};

// What the conversion knows and the source does not tell.
struct SidecarFacts {
  nlohmann::ordered_json choices;
  std::string version;
  std::string identity;  // source_identity()
  std::string id;
  std::vector<SidecarFile> checkpoint_files;
  std::optional<uint32_t> witness_crc;  // nullopt: there is no witnesses.bin
};

// Writes everything but witnesses.bin (which the executor has written to `dir` already). dir exists. tensor_crcs: by index of
// source.tensors.
void write_sidecar(FileSystem& fs, const Path& dir, const HfFolder& source,
                   const SidecarFacts& facts,
                   const std::vector<std::optional<uint32_t>>& tensor_crcs, MemoryBudget& budget);

// Errors: kBadInput for anything missing, damaged or out of place.
Sidecar open_sidecar(FileSystem& fs, const Path& dir, MemoryBudget& budget);

// SHA-256 over "name\0" + header bytes of every shard, in order of name.
std::string source_identity(FileSystem& fs, const HfFolder& source, MemoryBudget& budget);

}  // namespace bridge
