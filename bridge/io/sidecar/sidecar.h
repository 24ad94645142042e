// The sidecar ROOT/causeway/ keeps what a Megatron checkpoint cannot hold of its Hugging Face
// source, so that an export gives back the same files.
//
//   manifest.json       format, tool version, choices of the conversion, its id, source shards,
//                       files with their CRCs, and those of the small files of the iteration that
//                       was written with it
//   headers/SHARD       the 8 + N header bytes of each source shard, verbatim
//   files/NAME          side files (config, tokenizer, index, ...), verbatim
//   source_crc32.tsv    one line for each source tensor, by name: CRC-32 of its bytes ("--------"
//                       for one that was left out and not read), byte size, name
//   witnesses.bin       see witness_file.h
//   mapping.jsonc       the table, if --mapping gave one (bridge/convert/match/table_choice.h)
// It lies beside the iter_* folders, so that iterations that training adds later find it.
// Everything in it is checked like any other input. The format is our own (format 1).
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
constexpr std::string_view kWitnessFile = "witnesses.bin";
constexpr std::string_view kMappingFile = "mapping.jsonc";
constexpr int kSidecarFormat = 1;
constexpr int64_t kLargestManifest = 4 << 20;

struct SidecarFile {
  std::string name;
  int64_t size;
  uint32_t crc;
};

struct Sidecar {
  Path path;
  std::string version;             // of the tool that wrote the sidecar
  nlohmann::ordered_json choices;  // what bridge/convert recorded: spec, layer keys, ...
  HfFolder source;                 // shards, tensors and side files of the source; path is empty
  std::vector<SidecarFile> files;  // in the order of source.side_files
  std::vector<std::string> large_files;  // names of side files too large to carry
  std::string identity;                  // SHA-256 over shard names and headers
  std::string id;  // of the conversion; empty: written by a version without ids
  std::vector<SidecarFile> checkpoint_files;  // small files of the iteration written with it
  uint32_t witness_crc = 0;
  bool has_witnesses = false;

  Path header_path(size_t shard) const;
  Path file_path(size_t file) const;
  Path witness_path() const;
};

// The parts of a conversion's record that are known before anything is copied.
struct SidecarOrigin {
  const HfFolder& source;
  nlohmann::ordered_json choices;
  std::string version;                          // of the tool
  std::vector<std::string> checkpoint_files{};  // names of the small files of the iteration
};

// The parts that are known once everything is copied.
struct SidecarFacts {
  std::string identity;                       // source_identity()
  std::string id;                             // of the conversion
  std::vector<SidecarFile> checkpoint_files;  // as named in SidecarOrigin
  // By index of source.tensors; nullopt: the tensor was not read.
  std::vector<std::optional<uint32_t>> tensor_crcs;
  std::optional<uint32_t> witness_crc;  // nullopt: there is no witnesses.bin
};

// Throws the errors of write_sidecar whose reasons are known before anything is copied: a header
// that takes more memory than is left, a side file that cannot be read, a manifest that
// open_sidecar would refuse for its size.
void check_sidecar(FileSystem& fs, const SidecarOrigin& origin, MemoryBudget& budget);

// Writes everything except kMappingFile and witnesses.bin, which are already in `dir`.
void write_sidecar(FileSystem& fs, const Path& dir, const SidecarOrigin& origin,
                   const SidecarFacts& facts, MemoryBudget& budget);

// Errors: kBadInput for anything that is missing, damaged or out of place.
Sidecar open_sidecar(FileSystem& fs, const Path& dir, MemoryBudget& budget);

// SHA-256 over "name\0" + header bytes of every shard, in order of name.
std::string source_identity(FileSystem& fs, const HfFolder& source, MemoryBudget& budget);

}  // namespace bridge
