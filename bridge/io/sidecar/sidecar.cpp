#include "bridge/io/sidecar/sidecar.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/file/sha256.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/sidecar/manifest.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSha256Digits = 64;

// Writes one of the sidecar's own files in pieces and computes its CRC.
class CrcFile {
 public:
  CrcFile(FileSystem& fs, const Path& path) : file_(fs.create(path)) {}
  void add(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    file_->write_at(size_, bytes);
    crc_ = crc32(bytes, crc_);
    size_ += static_cast<int64_t>(bytes.size());
  }
  uint32_t finish() {
    file_->sync();
    return crc_;
  }

 private:
  std::unique_ptr<File> file_;
  int64_t size_ = 0;
  uint32_t crc_ = 0;
};

uint32_t write_tensor_crcs(FileSystem& fs, const Path& path, const HfFolder& source,
                           const std::vector<std::optional<uint32_t>>& crcs) {
  constexpr size_t kPiece = 64 << 10;
  CrcFile file(fs, path);
  std::string piece;
  for (size_t i = 0; i < source.tensors.size(); ++i) {
    const HfTensor& tensor = source.tensors[i];
    piece += fmt::format("{}\t{}\t{}\n", crcs[i] ? crc_text(*crcs[i]) : "--------",
                         tensor.end - tensor.begin, tensor.name);
    if (piece.size() >= kPiece) {
      file.add(piece);
      piece.clear();
    }
  }
  file.add(piece);
  return file.finish();
}

// The CRCs of what write_sidecar writes.
struct ManifestSums {
  std::vector<uint32_t> headers;  // by index of the shard
  std::vector<uint32_t> files;    // by index of the side file
  uint32_t tensors = 0;           // of source_crc32.tsv
};

// Returns facts that take at least as many bytes in the manifest as any others.
SidecarFacts longest_facts(const SidecarOrigin& origin) {
  SidecarFacts facts;
  facts.identity = std::string(kSha256Digits, '0');
  facts.id = facts.identity;
  for (const std::string& name : origin.checkpoint_files) {
    facts.checkpoint_files.push_back({name, std::numeric_limits<int64_t>::max(), 0});
  }
  facts.witness_crc = 0;
  return facts;
}

std::string manifest_text(const SidecarOrigin& origin, const SidecarFacts& facts,
                          const ManifestSums& sums) {
  const HfFolder& source = origin.source;
  Json manifest = {{"format", kSidecarFormat},
                   {"version", origin.version},
                   {"id", facts.id},
                   {"choices", origin.choices},
                   {"identity", facts.identity}};
  Json checkpoint_files = Json::array();
  for (const SidecarFile& file : facts.checkpoint_files)
    checkpoint_files.push_back(manifest_entry(file));
  manifest["checkpoint_files"] = std::move(checkpoint_files);
  Json shards = Json::array();
  for (size_t i = 0; i < source.shards.size(); ++i) {
    shards.push_back({{"name", source.shards[i].name},
                      {"size", source.shards[i].file_size},
                      {"header_crc32", crc_text(sums.headers[i])}});
  }
  manifest["shards"] = std::move(shards);
  Json files = Json::array();
  for (size_t i = 0; i < source.side_files.size(); ++i) {
    files.push_back(
        manifest_entry({source.side_files[i].name, source.side_files[i].size, sums.files[i]}));
  }
  manifest["files"] = std::move(files);
  Json large = Json::array();
  for (const HfSideFile& file : source.large_side_files) {
    large.push_back({{"name", file.name}, {"size", file.size}});
  }
  manifest["large_files"] = std::move(large);
  manifest["source_crc32"] = crc_text(sums.tensors);
  manifest["witnesses_crc32"] =
      facts.witness_crc ? Json(crc_text(*facts.witness_crc)) : Json(nullptr);
  add_manifest_sum(manifest);
  std::string text = manifest.dump(1) + "\n";
  if (std::ssize(text) > kLargestManifest) {
    unsupported(fmt::format("{}: a sidecar of {} shards and {} side files: its manifest would take "
                            "{}, at most {} can be read again",
                            printable(source.path.string()), source.shards.size(),
                            source.side_files.size() + source.large_side_files.size(),
                            size_text(std::ssize(text)), size_text(kLargestManifest)),
                "files that the model does not need can be moved out of its folder");
  }
  return text;
}

// The raw header of a shard, which is that of the first reading or kBadInput.
std::string read_header_again(FileSystem& fs, const HfFolder& source, const HfShard& shard,
                              MemoryBudget& budget) {
  std::string raw = read_raw_safetensors_header(*fs.open_read(source.path / shard.name), budget);
  if (crc32(std::as_bytes(std::span(raw))) != shard.header_crc) {
    bad_input(printable(shard.name) + ": its header was read twice and differs");
  }
  return raw;
}

}  // namespace

Path Sidecar::header_path(size_t shard) const {
  return path / "headers" / source.shards[shard].name;
}
Path Sidecar::file_path(size_t file) const {
  return path / "files" / files[file].name;
}
Path Sidecar::witness_path() const {
  return path / kWitnessFile;
}

std::string source_identity(FileSystem& fs, const HfFolder& source, MemoryBudget& budget) {
  Sha256 hash;
  for (const HfShard& shard : source.shards) {
    hash.add(shard.name);
    hash.add(std::string_view("\0", 1));
    hash.add(read_header_again(fs, source, shard, budget));
  }
  return hash.hex();
}

void check_sidecar(FileSystem& fs, const SidecarOrigin& origin, MemoryBudget& budget) {
  const HfFolder& source = origin.source;
  int64_t longest_header = 0;
  for (const HfShard& shard : source.shards) {
    longest_header = std::max(longest_header, shard.payload_offset);
  }
  budget.reserve(longest_header, "the sidecar's headers");
  budget.release(longest_header);
  for (const HfSideFile& file : source.side_files) fs.open_read(source.path / file.name);
  manifest_text(origin, longest_facts(origin),
                {.headers = std::vector<uint32_t>(source.shards.size()),
                 .files = std::vector<uint32_t>(source.side_files.size())});
}

void write_sidecar(FileSystem& fs, const Path& dir, const SidecarOrigin& origin,
                   const SidecarFacts& facts, MemoryBudget& budget) {
  const HfFolder& source = origin.source;
  ManifestSums sums;
  fs.make_dir(dir / "headers");
  for (const HfShard& shard : source.shards) {
    write_whole_file(fs, dir / "headers" / shard.name,
                     read_header_again(fs, source, shard, budget));
    sums.headers.push_back(shard.header_crc);
  }
  fs.make_dir(dir / "files");
  for (const HfSideFile& file : source.side_files) {
    make_dirs(fs, (dir / "files" / file.name).parent_path());
    sums.files.push_back(copy_file(fs, source.path / file.name, dir / "files" / file.name));
  }
  sums.tensors = write_tensor_crcs(fs, dir / "source_crc32.tsv", source, facts.tensor_crcs);
  write_whole_file(fs, dir / "manifest.json", manifest_text(origin, facts, sums));
}

}  // namespace bridge
