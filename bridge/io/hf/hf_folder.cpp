// Opens a Hugging Face folder.
//
//   1. List its files (hf_files.h); config.json must be among them.
//   2. Find the shards: those of the index, or model.safetensors if there is no index. Refuse every
//      ambiguous folder (an index and a model.safetensors that it does not list, model.safetensors
//      and shards without an index), since readers differ: transformers prefers model.safetensors,
//      others prefer the index.
//   3. Read the headers of the shards and sort the tensors by name.
//   4. Compare with the index, in both directions.
//   5. Treat the remaining files as side files, except those that hold weights (weight_files.h).
//
// Truth: transformers/modeling_utils.py (_get_resolved_checkpoint_files),
// safetensors/src/tensor.rs.
#include "bridge/io/hf/hf_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/base/utf8.h"
#include "bridge/io/hf/hf_files.h"
#include "bridge/io/hf/hf_index.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/hf/weight_files.h"

namespace bridge {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kSafetensors = ".safetensors";
constexpr int64_t kMaxSideFile = 64 << 20;
constexpr int64_t kMaxIndex = 256 << 20;

// Weights in formats that we recognise but do not read.
bool is_foreign_weights(std::string_view name) {
  return (name.starts_with("pytorch_model") && name.ends_with(".bin")) ||
         (name.starts_with("consolidated") && name.ends_with(".pth")) || name.ends_with(".gguf");
}

// "model-00001-of-00002.safetensors".
bool is_shard_name(std::string_view name) {
  return name.ends_with(kSafetensors) && name.find("-of-") != std::string_view::npos;
}

// Formats a list with at most five names: "a, b and 7 more".
class NameList {
 public:
  void add(std::string_view name) {
    if (count_++ < 5) text_ += (text_.empty() ? "" : ", ") + printable(name);
  }
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }
  std::string text() const {
    return count_ > 5 ? fmt::format("{} and {} more", text_, count_ - 5) : text_;
  }

 private:
  int64_t count_ = 0;
  std::string text_;
};

template <typename T>
const T* find_by_name(const std::vector<T>& sorted, std::string_view name) {
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), name,
                                   [](const T& item, std::string_view n) { return item.name < n; });
  return at != sorted.end() && at->name == name ? &*at : nullptr;
}

const HfSideFile* find_file(const HfFiles& files, std::string_view name) {
  return find_by_name(files.files, name);
}

[[noreturn]] void fail(const Path& folder, std::string_view what, std::string hint = {}) {
  bad_input(fmt::format("{}: {}", printable(folder.string()), what), std::move(hint));
}

WeightMap read_index(FileSystem& fs, const Path& path, MemoryBudget& budget, Reservation& grown) {
  const std::unique_ptr<File> file = fs.open_read(path);
  if (file->size() > kMaxIndex) {
    bad_input(fmt::format("{} bytes, at most {} are accepted", file->size(), kMaxIndex));
  }
  Reservation text_bytes(&budget, "weight map");
  text_bytes.grow(file->size());
  std::string text(static_cast<size_t>(file->size()), '\0');
  file->read_at(0, std::as_writable_bytes(std::span(text)));
  return parse_weight_map(text, grown);
}

// Returns the shards of an index; empty if all are absent and weights are optional.
std::vector<std::string> shards_of_index(const Path& folder, const HfFiles& files,
                                         const WeightMap& map, bool required) {
  if (find_file(files, kSingle) != nullptr &&
      !std::binary_search(map.shards.begin(), map.shards.end(), kSingle)) {
    fail(folder, fmt::format("both {} and an index that does not list it", kSingle),
         "remove the one that is not meant: programs differ in which they read");
  }
  NameList missing;
  for (const std::string& shard : map.shards) {
    if (find_file(files, shard) == nullptr) missing.add(shard);
  }
  if (missing.empty()) return map.shards;
  if (!required && missing.count() == static_cast<int64_t>(map.shards.size())) return {};
  fail(folder,
       fmt::format("{} of {} shards of the index are missing: {}", missing.count(),
                   map.shards.size(), missing.text()),
       "the download is not complete; run it again");
}

std::vector<std::string> shards_without_index(const Path& folder, const HfFiles& files,
                                              bool required) {
  NameList safetensors;
  NameList foreign;
  bool has_shards = false;
  for (const HfSideFile& file : files.files) {
    if (file.name.find('/') != std::string::npos) continue;
    if (file.name.ends_with(kSafetensors)) safetensors.add(file.name);
    if (is_foreign_weights(file.name)) foreign.add(file.name);
    has_shards = has_shards || is_shard_name(file.name);
  }
  // transformers does not read the other weights in such a folder (an adapter, another program's
  // format).
  if (!has_shards && find_file(files, kSingle) != nullptr) return {std::string(kSingle)};
  if (!safetensors.empty()) {
    fail(folder, fmt::format("no {}, and not {} alone: {}", kIndex, kSingle, safetensors.text()),
         "write the folder again with transformers' save_pretrained, or fetch the index; a file on "
         "its own must be called model.safetensors");
  }
  if (!required) return {};
  if (!foreign.empty()) {
    unsupported(fmt::format("{}: weights only in a form that is not read: {}",
                            printable(folder.string()), foreign.text()),
                "load it with transformers and save it with "
                "save_pretrained(DIR, safe_serialization=True)");
  }
  fail(folder, fmt::format("no weights: neither {} nor {}", kIndex, kSingle));
}

// Reads the headers of the shards and fills shards, tensors and total_bytes.
void read_shards(FileSystem& fs, const std::vector<std::string>& names, MemoryBudget& budget,
                 HfFolder& folder) {
  Reservation list_bytes(&budget, "tensor list");
  for (const std::string& name : names) {
    const std::unique_ptr<File> file = fs.open_read(folder.path / name);
    SafetensorsHeader header = read_safetensors_header(*file, budget);
    const auto shard = static_cast<int32_t>(folder.shards.size());
    folder.shards.push_back({name, file->size(), header.payload_offset, header.crc});
    folder.total_bytes = checked_add(folder.total_bytes, header.payload_size, "size of the model");
    // Reserves twice the size because the vector grows by reallocation.
    list_bytes.grow(static_cast<int64_t>(2 * sizeof(HfTensor) * header.entries.size()));
    for (SafetensorsEntry& entry : header.entries) {
      folder.tensors.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape), shard,
                                entry.begin, entry.end});
    }
  }
  folder.tensors.shrink_to_fit();
  std::sort(folder.tensors.begin(), folder.tensors.end(),
            [](const HfTensor& a, const HfTensor& b) { return a.name < b.name; });
  // The reservation of the entries stays and covers everything except the difference.
  static_assert(sizeof(HfTensor) >= sizeof(SafetensorsEntry));
  list_bytes.shrink_to(
      static_cast<int64_t>((sizeof(HfTensor) - sizeof(SafetensorsEntry)) * folder.tensors.size()));
  list_bytes.keep();
}

void check_unique(const HfFolder& folder) {
  const auto twin =
      std::adjacent_find(folder.tensors.begin(), folder.tensors.end(),
                         [](const HfTensor& a, const HfTensor& b) { return a.name == b.name; });
  if (twin == folder.tensors.end()) return;
  // No shard contains a duplicate itself, so these are two shards.
  const auto shard_of = [&](const HfTensor& t) {
    return folder.shards[static_cast<size_t>(t.shard)].name;
  };
  fail(folder.path, fmt::format("tensor {} is in {} and in {}", printable(twin->name),
                                std::min(shard_of(twin[0]), shard_of(twin[1])),
                                std::max(shard_of(twin[0]), shard_of(twin[1]))));
}

// Both lists are sorted by name, and shard numbers mean the same in both.
void check_index(const HfFolder& folder, const WeightMap& map) {
  NameList elsewhere;
  NameList absent;
  NameList extra;
  auto tensor = folder.tensors.begin();
  for (const WeightMapEntry& entry : map.entries) {
    while (tensor != folder.tensors.end() && tensor->name < entry.tensor) {
      extra.add((tensor++)->name);
    }
    const std::string& listed = map.shards[static_cast<size_t>(entry.shard)];
    if (tensor == folder.tensors.end() || tensor->name != entry.tensor) {
      absent.add(fmt::format("{} ({})", entry.tensor, listed));
      continue;
    }
    if (tensor->shard != entry.shard) {
      elsewhere.add(fmt::format("{} ({}, not {})", entry.tensor,
                                folder.shards[static_cast<size_t>(tensor->shard)].name, listed));
    }
    ++tensor;
  }
  for (; tensor != folder.tensors.end(); ++tensor) extra.add(tensor->name);
  const auto refuse = [&](const NameList& names, std::string_view what) {
    if (names.empty()) return;
    bad_input(
        fmt::format("{}: {} tensors {}: {}", kIndex, names.count(), what, names.text()),
        "the index and the shards belong to different versions of the model; fetch both again");
  };
  refuse(elsewhere, "are in another shard than it says");
  refuse(absent, "that it lists are not in their shard");
  refuse(extra, "of the shards are not listed");
}

HfFolder open(FileSystem& fs, const Path& path, MemoryBudget& budget, bool weights_required) {
  const std::optional<Stat> there = fs.stat(path);
  if (!there) fail(path, "no such file or folder");
  if (there->kind != Kind::kDirectory) {
    fail(path, "not a folder", "give the folder that holds config.json");
  }
  HfFolder folder;
  folder.path = resolve_hf_path(fs, path);
  HfFiles files = list_hf_files(fs, folder.path, budget);
  if (find_file(files, kConfig) == nullptr) fail(folder.path, "no config.json");

  folder.has_index = find_file(files, kIndex) != nullptr;
  if (folder.has_index) {
    // The map, the headers and a plan made from them take about ten times the size of the index.
    budget.expect(12 * find_file(files, kIndex)->size);
    Reservation map_bytes(&budget, "weight map");
    const WeightMap map = with_context(
        kIndex, [&] { return read_index(fs, folder.path / kIndex, budget, map_bytes); });
    const std::vector<std::string> shards =
        shards_of_index(folder.path, files, map, weights_required);
    read_shards(fs, shards, budget, folder);
    check_unique(folder);
    if (!shards.empty()) check_index(folder, map);
  } else {
    read_shards(fs, shards_without_index(folder.path, files, weights_required), budget, folder);
  }

  std::erase_if(files.files, [&](const HfSideFile& file) {
    return find_by_name(folder.shards, file.name) != nullptr;
  });
  folder.other_weights = take_weight_files(fs, folder.path, files.files);
  folder.links_out = std::move(files.links_out);
  for (HfSideFile& file : files.files) {
    auto& list = file.size <= kMaxSideFile ? folder.side_files : folder.large_side_files;
    list.push_back(std::move(file));
  }
  for (const std::string& name : files.too_deep) {
    folder.large_side_files.push_back({name + "/", 0});
  }
  return folder;
}

}  // namespace

const HfTensor* HfFolder::find(std::string_view name) const {
  return find_by_name(tensors, name);
}

bool HfFolder::has_file(std::string_view name) const {
  return find_by_name(side_files, name) != nullptr;
}

bool looks_like_hf_folder(FileSystem& fs, const Path& path) {
  const std::optional<Stat> there = fs.stat(path);
  if (!there || there->kind != Kind::kDirectory) return false;
  if (!fs.stat(path / kConfig)) {
    return fs.stat(path / "snapshots").has_value() && fs.stat(path / "refs").has_value();
  }
  const std::vector<std::string> names = fs.list(path);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name == kIndex || name.ends_with(kSafetensors) || is_foreign_weights(name);
  });
}

HfFolder open_hf_folder(FileSystem& fs, const Path& path, MemoryBudget& budget) {
  return open(fs, path, budget, /*weights_required=*/true);
}

HfFolder open_hf_reference(FileSystem& fs, const Path& path, MemoryBudget& budget) {
  return open(fs, path, budget, /*weights_required=*/false);
}

bool is_safe_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

bool is_safe_relative_path(std::string_view name) {
  const bool plain = is_utf8(name) && std::none_of(name.begin(), name.end(), [](char c) {
                       return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\';
                     });
  if (!plain) return false;
  while (true) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace bridge
