// Opens a sidecar: reads the manifest and the shard headers, and holds every file to its CRC.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/file/file_crc.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/hf/weight_files.h"
#include "bridge/io/sidecar/manifest.h"
#include "bridge/io/sidecar/sidecar.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kTreeBytesPerByte = 4;  // memory of a manifest's JSON tree

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
      if (crc32(std::as_bytes(std::span(raw))) != parse_crc(text_of(item, "header_crc32"))) {
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

}  // namespace

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
        sidecar.witness_crc = parse_crc(text_of(manifest, "witnesses_crc32"));
      read_shards(fs, sidecar, manifest, budget);
      read_files(fs, sidecar, manifest);
      if (sidecar.has_witnesses) open_inside(fs, dir, kWitnessFile);
      if (crc_of_file(*open_inside(fs, dir, "source_crc32.tsv")) !=
          parse_crc(text_of(manifest, "source_crc32"))) {
        bad_input("source_crc32.tsv: CRC-32 mismatch, the sidecar is damaged");
      }
      check_names(sidecar.source);
      leave_out_weights(fs, sidecar);
      check_manifest_sum(manifest);
    });
    budget.release(static_cast<int64_t>(text.size()) * kTreeBytesPerByte);
    return sidecar;
  });
}

}  // namespace bridge
