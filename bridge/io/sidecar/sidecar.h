// The sidecar ROOT/causeway/: what a Megatron checkpoint cannot hold of its Hugging Face source, so that an
// export gives back the same files.
//
//   manifest.json       format, tool version, choices of the conversion, source shards, files with their CRCs
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
constexpr int kSidecarFormat = 1;

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
  uint32_t witness_crc = 0;
  bool has_witnesses = false;

  Path header_path(size_t shard) const;
  Path file_path(size_t file) const;
  Path witness_path() const;
};

// What a conversion records beside the CRCs of what it copies.
struct SidecarOrigin {
  const HfFolder& source;
  nlohmann::ordered_json choices;
  std::string version;  // of the tool
};

struct CopiedCrcs {
  std::vector<std::optional<uint32_t>> tensors;  // by index of source.tensors; nullopt: not read
  std::optional<uint32_t> witnesses;             // nullopt: there is no witnesses.bin
};

// Throws what write_sidecar would throw for reasons that are known before anything is copied: a header that takes more
// memory than is left, a side file that cannot be read, a manifest that open_sidecar would refuse for its size.
void check_sidecar(FileSystem& fs, const SidecarOrigin& origin, MemoryBudget& budget);

// Writes everything but witnesses.bin, which the executor has written to `dir` already. dir exists.
void write_sidecar(FileSystem& fs, const Path& dir, const SidecarOrigin& origin,
                   const CopiedCrcs& crcs, MemoryBudget& budget);

// Errors: kBadInput for anything missing, damaged or out of place.
Sidecar open_sidecar(FileSystem& fs, const Path& dir, MemoryBudget& budget);

// SHA-256 over "name\0" + header bytes of every shard, in order of name.
std::string source_identity(FileSystem& fs, const HfFolder& source, MemoryBudget& budget);

}  // namespace bridge
