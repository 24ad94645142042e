#include "bridge/io/sidecar/sidecar.h"

#include <fmt/format.h>

#include <algorithm>

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
constexpr int64_t kLargestManifest = 4 << 20;
constexpr int64_t kTreeBytesPerByte = 4;  // of a manifest's JSON

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

// A file of the sidecar's own, written in pieces, that knows its CRC.
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

// What the manifest says of the files beside it.
struct ManifestSums {
  std::string identity;
  std::vector<uint32_t> headers;  // by shard
  std::vector<uint32_t> files;    // by side file
  uint32_t tensors = 0;           // of source_crc32.tsv
  std::optional<uint32_t> witnesses{};
};

std::string manifest_text(const SidecarOrigin& origin, const ManifestSums& sums) {
  const HfFolder& source = origin.source;
  Json manifest = {
      {"format", kSidecarFormat}, {"version", origin.version}, {"choices", origin.choices}};
  manifest["identity"] = sums.identity;
  Json shards = Json::array();
  for (size_t i = 0; i < source.shards.size(); ++i) {
    shards.push_back({{"name", source.shards[i].name},
                      {"size", source.shards[i].file_size},
                      {"header_crc32", hex(sums.headers[i])}});
  }
  manifest["shards"] = std::move(shards);
  Json files = Json::array();
  for (size_t i = 0; i < source.side_files.size(); ++i) {
    files.push_back({{"name", source.side_files[i].name},
                     {"size", source.side_files[i].size},
                     {"crc32", hex(sums.files[i])}});
  }
  manifest["files"] = std::move(files);
  Json large = Json::array();
  for (const HfSideFile& file : source.large_side_files) {
    large.push_back({{"name", file.name}, {"size", file.size}});
  }
  manifest["large_files"] = std::move(large);
  manifest["source_crc32"] = hex(sums.tensors);
  manifest["witnesses_crc32"] = sums.witnesses ? Json(hex(*sums.witnesses)) : Json(nullptr);
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

// Member access with the errors a hand-edited or damaged manifest deserves.
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

void read_shards(FileSystem& fs, Sidecar& sidecar, const Json& manifest, MemoryBudget& budget) {
  for (const Json& item : list_of(manifest, "shards")) {
    const std::string name = text_of(item, "name");
    if (!is_safe_file_name(name)) bad_input(printable(name) + ": not a safe file name");
    const Path path = sidecar.path / "headers" / name;
    with_context("headers/" + name, [&] {
      const auto file = fs.open_read(path);
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

void read_files(FileSystem& fs, Sidecar& sidecar, const Json& manifest) {
  for (const Json& item : list_of(manifest, "files")) {
    SidecarFile file{text_of(item, "name"), size_of(item, "size"),
                     parse_hex(text_of(item, "crc32"))};
    if (!is_safe_relative_path(file.name)) bad_input(printable(file.name) + ": not a safe path");
    const auto opened = fs.open_read(sidecar.path / "files" / file.name);
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
  take_weight_files(large);
  for (HfSideFile& file : large) sidecar.large_files.push_back(std::move(file.name));
  // Earlier versions carried weights as they carry side files.
  for (const HfSideFile& weights : take_weight_files(sidecar.source.side_files)) {
    std::erase_if(sidecar.files,
                  [&](const SidecarFile& file) { return file.name == weights.name; });
  }
}

// An export writes all of these into one folder, and without a config.json it would be none of a model.
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

}  // namespace

Path Sidecar::header_path(size_t shard) const {
  return path / "headers" / source.shards[shard].name;
}
Path Sidecar::file_path(size_t file) const {
  return path / "files" / files[file].name;
}
Path Sidecar::witness_path() const {
  return path / "witnesses.bin";
}

std::string source_identity(FileSystem& fs, const HfFolder& source, MemoryBudget& budget) {
  Sha256 hash;
  for (const HfShard& shard : source.shards) {
    hash.add(shard.name);
    hash.add(std::string_view("\0", 1));
    const std::string raw =
        read_raw_safetensors_header(*fs.open_read(source.path / shard.name), budget);
    hash.add(raw);
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
  manifest_text(origin, {.identity = std::string(kSha256Digits, '0'),
                         .headers = std::vector<uint32_t>(source.shards.size()),
                         .files = std::vector<uint32_t>(source.side_files.size())});
}

void write_sidecar(FileSystem& fs, const Path& dir, const SidecarOrigin& origin,
                   const CopiedCrcs& crcs, MemoryBudget& budget) {
  const HfFolder& source = origin.source;
  ManifestSums sums;
  sums.identity = source_identity(fs, source, budget);
  fs.make_dir(dir / "headers");
  for (const HfShard& shard : source.shards) {
    const std::string raw =
        read_raw_safetensors_header(*fs.open_read(source.path / shard.name), budget);
    write_whole_file(fs, dir / "headers" / shard.name, raw);
    sums.headers.push_back(crc32(std::as_bytes(std::span(raw))));
  }
  fs.make_dir(dir / "files");
  for (const HfSideFile& file : source.side_files) {
    make_dirs(fs, (dir / "files" / file.name).parent_path());
    sums.files.push_back(copy_file(fs, source.path / file.name, dir / "files" / file.name));
  }
  sums.tensors = write_tensor_crcs(fs, dir / "source_crc32.tsv", source, crcs.tensors);
  sums.witnesses = crcs.witnesses;
  write_whole_file(fs, dir / "manifest.json", manifest_text(origin, sums));
}

Sidecar open_sidecar(FileSystem& fs, const Path& dir, MemoryBudget& budget) {
  return with_context(printable(dir.string()), [&] {
    Sidecar sidecar;
    sidecar.path = dir;
    if (!fs.stat(dir / "manifest.json")) bad_input("not a sidecar: manifest.json is missing");
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
      const Json& witnesses = member(manifest, "witnesses_crc32");
      sidecar.has_witnesses = !witnesses.is_null();
      if (sidecar.has_witnesses)
        sidecar.witness_crc = parse_hex(text_of(manifest, "witnesses_crc32"));
      read_shards(fs, sidecar, manifest, budget);
      read_files(fs, sidecar, manifest);
      if (crc_of_file(*fs.open_read(dir / "source_crc32.tsv")) !=
          parse_hex(text_of(manifest, "source_crc32"))) {
        bad_input("source_crc32.tsv: CRC-32 mismatch, the sidecar is damaged");
      }
      check_names(sidecar.source);
    });
    budget.release(static_cast<int64_t>(text.size()) * kTreeBytesPerByte);
    return sidecar;
  });
}

}  // namespace bridge
