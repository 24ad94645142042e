#include "bridge/io/sidecar/sidecar.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/file/sha256.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/hf/weight_files.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSha256Digits = 64;
constexpr const char* kManifestSum = "manifest_crc32";
constexpr int64_t kTreeBytesPerByte = 4;  // memory of a manifest's JSON tree

std::string hex(uint32_t crc) {
  return fmt::format("{:08x}", crc);
}

uint32_t parse_hex(const std::string& text) {
  uint32_t value = 0;
  for (const char c : text) {
    const auto digit = std::string_view("0123456789abcdef").find(c);
    if (text.size() != 8 || digit == std::string_view::npos) bad_input("a CRC is not 8 hex digits");
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

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
    piece += fmt::format("{}\t{}\t{}\n", crcs[i] ? hex(*crcs[i]) : "--------",
                         tensor.end - tensor.begin, tensor.name);
    if (piece.size() >= kPiece) {
      file.add(piece);
      piece.clear();
    }
  }
  file.add(piece);
  return file.finish();
}

Json json_of(const SidecarFile& file) {
  return {{"name", file.name}, {"size", file.size}, {"crc32", hex(file.crc)}};
}

// The CRC-32 of the manifest's text without this member.
std::string sum_of(const Json& manifest) {
  const std::string text = manifest.dump(1);
  return hex(crc32(std::as_bytes(std::span(text))));
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
  for (const SidecarFile& file : facts.checkpoint_files) checkpoint_files.push_back(json_of(file));
  manifest["checkpoint_files"] = std::move(checkpoint_files);
  Json shards = Json::array();
  for (size_t i = 0; i < source.shards.size(); ++i) {
    shards.push_back({{"name", source.shards[i].name},
                      {"size", source.shards[i].file_size},
                      {"header_crc32", hex(sums.headers[i])}});
  }
  manifest["shards"] = std::move(shards);
  Json files = Json::array();
  for (size_t i = 0; i < source.side_files.size(); ++i) {
    files.push_back(json_of({source.side_files[i].name, source.side_files[i].size, sums.files[i]}));
  }
  manifest["files"] = std::move(files);
  Json large = Json::array();
  for (const HfSideFile& file : source.large_side_files) {
    large.push_back({{"name", file.name}, {"size", file.size}});
  }
  manifest["large_files"] = std::move(large);
  manifest["source_crc32"] = hex(sums.tensors);
  manifest["witnesses_crc32"] = facts.witness_crc ? Json(hex(*facts.witness_crc)) : Json(nullptr);
  manifest[kManifestSum] = sum_of(manifest);
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

// Returns a member, or throws an error that explains a hand-edited or damaged manifest.
const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) bad_input("not an object");
  const auto it = object.find(key);
  if (it == object.end()) bad_input(fmt::format("{} is missing", key));
  return *it;
}

std::string text_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_string()) bad_input(fmt::format("{} is not a string", key));
  return value.get<std::string>();
}

int64_t size_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_number_integer() || value.get<int64_t>() < 0) {
    bad_input(fmt::format("{} is not a size", key));
  }
  return value.get<int64_t>();
}

const Json& list_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_array()) bad_input(fmt::format("{} is not a list", key));
  return value;
}

// A sidecar contains no symlinks: one could lead out of the checkpoint.
void refuse_symlinks(FileSystem& fs, const Path& dir, const Path& name) {
  Path at = dir;
  for (const Path& part : name) {
    at /= part;
    const std::optional<Stat> there = fs.lstat(at);
    if (there && there->kind == Kind::kSymlink) {
      bad_input(printable(name.string()) + ": a symlink in a sidecar");
    }
  }
}

std::unique_ptr<File> open_inside(FileSystem& fs, const Path& dir, const Path& name) {
  refuse_symlinks(fs, dir, name);
  return fs.open_read(dir / name);
}

void read_shards(FileSystem& fs, Sidecar& sidecar, const Json& manifest, MemoryBudget& budget) {
  for (const Json& item : list_of(manifest, "shards")) {
    const std::string name = text_of(item, "name");
    if (!is_safe_file_name(name)) bad_input(printable(name) + ": not a safe file name");
    with_context("headers/" + name, [&] {
      const auto file = open_inside(fs, sidecar.path, Path("headers") / name);
      const std::string raw = read_raw_safetensors_header(*file, budget);
      if (file->size() != std::ssize(raw)) bad_input("not a header alone");
      if (crc32(std::as_bytes(std::span(raw))) != parse_hex(text_of(item, "header_crc32"))) {
        bad_input("CRC-32 mismatch, the sidecar is damaged");
      }
      const SafetensorsHeader header = parse_safetensors_header(
          std::string_view(raw).substr(std::min<size_t>(8, raw.size())), -1);
      const auto shard = static_cast<int32_t>(sidecar.source.shards.size());
      const int64_t size = std::ssize(raw) + header.payload_size;
      if (size_of(item, "size") != size) {
        bad_input(
            fmt::format("{} bytes by the manifest, {} by the header", size_of(item, "size"), size));
      }
      sidecar.source.shards.push_back({name, size, std::ssize(raw)});
      for (const SafetensorsEntry& entry : header.entries) {
        budget.reserve(static_cast<int64_t>(sizeof(HfTensor)) + heap_cost(entry.name.size()) +
                           heap_cost(entry.shape.size() * sizeof(int64_t)),
                       "the sidecar's headers");
        sidecar.source.tensors.push_back(
            {entry.name, entry.dtype, entry.shape, shard, entry.begin, entry.end});
      }
      sidecar.source.total_bytes += header.payload_size;
    });
  }
  auto& tensors = sidecar.source.tensors;
  std::sort(tensors.begin(), tensors.end(),
            [](const HfTensor& a, const HfTensor& b) { return a.name < b.name; });
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (tensors[i].name == tensors[i - 1].name) {
      bad_input(printable(tensors[i].name) + ": in two of the recorded shards");
    }
  }
}

SidecarFile file_of(const Json& item) {
  return {text_of(item, "name"), size_of(item, "size"), parse_hex(text_of(item, "crc32"))};
}

void read_files(FileSystem& fs, Sidecar& sidecar, const Json& manifest) {
  for (const Json& item : list_of(manifest, "files")) {
    SidecarFile file = file_of(item);
    if (!is_safe_relative_path(file.name)) bad_input(printable(file.name) + ": not a safe path");
    const auto opened = open_inside(fs, sidecar.path, Path("files") / file.name);
    if (opened->size() != file.size || crc_of_file(*opened) != file.crc) {
      bad_input(fmt::format(
          "files/{}: size or CRC-32 differs from the manifest's, the sidecar is damaged",
          printable(file.name)));
    }
    sidecar.source.has_index |= file.name == "model.safetensors.index.json";
    sidecar.source.side_files.push_back({file.name, file.size});
    sidecar.files.push_back(std::move(file));
  }
  std::vector<HfSideFile> large;
  for (const Json& item : list_of(manifest, "large_files"))
    large.push_back({text_of(item, "name"), 0});
  take_weight_files(fs, sidecar.path / "files", large);
  for (HfSideFile& file : large) sidecar.large_files.push_back(std::move(file.name));
}

// Earlier versions carried weights like side files.
void leave_out_weights(FileSystem& fs, Sidecar& sidecar) {
  for (const HfSideFile& weights :
       take_weight_files(fs, sidecar.path / "files", sidecar.source.side_files)) {
    std::erase_if(sidecar.files,
                  [&](const SidecarFile& file) { return file.name == weights.name; });
  }
}

// Reads what ties the sidecar to an iteration; older versions wrote nothing about it.
void read_binding(Sidecar& sidecar, const Json& manifest) {
  if (!manifest.contains("id")) return;
  sidecar.id = text_of(manifest, "id");
  for (const Json& item : list_of(manifest, "checkpoint_files")) {
    sidecar.checkpoint_files.push_back(file_of(item));
    const std::string& name = sidecar.checkpoint_files.back().name;
    if (!is_safe_file_name(name)) bad_input(printable(name) + ": not a safe file name");
  }
}

// Called last, so that other faults are named first. Older versions wrote no sum.
void check_sum(Json manifest) {
  if (!manifest.contains(kManifestSum)) return;
  const std::string written = text_of(manifest, kManifestSum);
  manifest.erase(kManifestSum);
  if (sum_of(manifest) != written) bad_input("CRC-32 mismatch, the sidecar is damaged");
}

// An export writes all these files into one folder, which would not be a model without config.json.
void check_names(const HfFolder& source) {
  std::vector<std::string_view> names;
  for (const HfShard& shard : source.shards) names.push_back(shard.name);
  for (const HfSideFile& file : source.side_files) names.push_back(file.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) bad_input(printable(*twin) + ": listed twice");
  if (!std::binary_search(names.begin(), names.end(), "config.json"))
    bad_input("lists no config.json");
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

Sidecar open_sidecar(FileSystem& fs, const Path& dir, MemoryBudget& budget) {
  return with_context(printable(dir.string()), [&] {
    Sidecar sidecar;
    sidecar.path = dir;
    if (!fs.stat(dir / "manifest.json")) bad_input("not a sidecar: manifest.json is missing");
    refuse_symlinks(fs, dir, "manifest.json");
    refuse_symlinks(fs, dir, kMappingFile);
    const std::string text = read_whole_file(fs, dir / "manifest.json", kLargestManifest);
    budget.reserve(static_cast<int64_t>(text.size()) * kTreeBytesPerByte, "the sidecar's manifest");
    with_context("manifest.json", [&] {
      const Json manifest = parse_json(text);
      if (size_of(manifest, "format") != kSidecarFormat) {
        unsupported(fmt::format("sidecar format {}; this version reads format {}",
                                size_of(manifest, "format"), kSidecarFormat));
      }
      sidecar.version = text_of(manifest, "version");
      sidecar.choices = member(manifest, "choices");
      if (!sidecar.choices.is_object()) bad_input("choices is not an object");
      sidecar.identity = text_of(manifest, "identity");
      read_binding(sidecar, manifest);
      const Json& witnesses = member(manifest, "witnesses_crc32");
      sidecar.has_witnesses = !witnesses.is_null();
      if (sidecar.has_witnesses)
        sidecar.witness_crc = parse_hex(text_of(manifest, "witnesses_crc32"));
      read_shards(fs, sidecar, manifest, budget);
      read_files(fs, sidecar, manifest);
      if (sidecar.has_witnesses) open_inside(fs, dir, kWitnessFile);
      if (crc_of_file(*open_inside(fs, dir, "source_crc32.tsv")) !=
          parse_hex(text_of(manifest, "source_crc32"))) {
        bad_input("source_crc32.tsv: CRC-32 mismatch, the sidecar is damaged");
      }
      check_names(sidecar.source);
      leave_out_weights(fs, sidecar);
      check_sum(manifest);
    });
    budget.release(static_cast<int64_t>(text.size()) * kTreeBytesPerByte);
    return sidecar;
  });
}

}  // namespace bridge
