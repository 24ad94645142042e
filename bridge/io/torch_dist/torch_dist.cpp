#include "bridge/io/torch_dist/torch_dist.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "bridge/io/torch_dist/key_prefix.h"
#include "bridge/io/torch_dist/megatron_location.h"
#include "bridge/io/torch_dist/torch_item.h"

namespace bridge {
namespace {

constexpr std::string_view kCommonKey = "common_state/shard_0_1";

// A file named in .metadata may be a symlink, but only to a file in the checkpoint.
void check_file_inside(FileSystem& fs, const Path& real_root, const Path& file) {
  const Path real = fs.real_path(file);
  const auto [end, unused] =
      std::mismatch(real_root.begin(), real_root.end(), real.begin(), real.end());
  if (end != real_root.end()) bad_input("leads out of the checkpoint by a symlink");
}

// Finds truncated and missing files before anything is read.
void check_files(FileSystem& fs, const MegatronFolder& folder) {
  const DcpMetadata& metadata = folder.metadata;
  const Path real_root = fs.real_path(folder.root);
  std::vector<int64_t> sizes;
  sizes.reserve(metadata.files.size());
  for (const std::string& name : metadata.files) {
    const Path file = folder.dist_dir / name;
    with_context([&] { return printable(file.native()); },
                 [&] {
                   const std::optional<Stat> stat = fs.stat(file);
                   if (!stat) bad_input("named in .metadata, but not there");
                   if (stat->kind != Kind::kRegular) bad_input("not a regular file");
                   check_file_inside(fs, real_root, file);
                   sizes.push_back(stat->size);
                 });
  }
  const auto check = [&](const std::string& key, int32_t file, int64_t offset, int64_t length) {
    const auto index = static_cast<size_t>(file);
    const int64_t end = checked_add(offset, length, "end of the item");
    if (end > sizes[index]) {
      bad_input(fmt::format("{}: {}: the item ends at byte {}, the file at {} (truncated?)",
                            printable((folder.dist_dir / metadata.files[index]).native()),
                            printable(key), end, sizes[index]));
    }
  };
  for (const DcpTensor& tensor : metadata.tensors) {
    for (const DcpChunk& chunk : tensor.chunks) {
      check(tensor.key, chunk.file, chunk.offset, chunk.length);
    }
  }
  for (const DcpObject& object : metadata.objects) {
    check(object.key, object.file, object.offset, object.length);
  }
}

PickleValue read_common(FileSystem& fs, const MegatronFolder& folder, MemoryBudget& budget) {
  const auto require_dict = [](const PickleValue& value) {
    if (value->kind != PickleNode::Kind::kDict) bad_input("the common state is not a dict");
    return value;
  };
  const Path common = folder.dist_dir / "common.pt";
  if (fs.stat(common)) {
    return with_context([&] { return printable(common.native()); },
                        [&] {
                          const std::unique_ptr<File> file = fs.open_read(common);
                          return require_dict(read_object_item(*file, 0, file->size(), budget));
                        });
  }
  const std::vector<DcpObject>& objects = folder.metadata.objects;
  const auto object = std::find_if(objects.begin(), objects.end(),
                                   [](const DcpObject& o) { return o.key == kCommonKey; });
  if (object == objects.end()) return nullptr;
  const Path path = folder.dist_dir / folder.metadata.files.at(static_cast<size_t>(object->file));
  return with_context([&] { return fmt::format("{}: {}", printable(path.native()), kCommonKey); },
                      [&] {
                        const std::unique_ptr<File> file = fs.open_read(path);
                        const PickleValue list =
                            read_object_item(*file, object->offset, object->length, budget);
                        // Megatron saves the list of the objects that share a key; this key has one
                        // object.
                        if (list->kind != PickleNode::Kind::kList || list->items.size() != 1) {
                          bad_input("the object is not a list of one");
                        }
                        return require_dict(list->items[0]);
                      });
}

std::string id_of(const PickleValue& common) {
  const PickleNode* id = common == nullptr ? nullptr : common->get(kConversionIdKey);
  return id != nullptr && id->kind == PickleNode::Kind::kString ? id->text : std::string();
}

}  // namespace

const DcpTensor* MegatronFolder::find(std::string_view key) const {
  const auto found =
      std::lower_bound(metadata.tensors.begin(), metadata.tensors.end(), key,
                       [](const DcpTensor& tensor, std::string_view k) { return tensor.key < k; });
  return found != metadata.tensors.end() && found->key == key ? &*found : nullptr;
}

std::string MegatronFolder::conversion_id() const {
  return id_of(common);
}

std::string read_conversion_id(FileSystem& fs, const Path& dist_dir, MemoryBudget& budget) {
  const Path path = dist_dir / "common.pt";
  if (!fs.stat(path)) return {};
  try {
    const std::unique_ptr<File> file = fs.open_read(path);
    return id_of(read_object_item(*file, 0, file->size(), budget));
  } catch (const Error& error) {
    if (error.code() != Code::kBadInput && error.code() != Code::kUnsupported) throw;
    return {};
  }
}

MegatronFolder open_megatron(FileSystem& fs, const Path& path, std::string_view iteration,
                             MemoryBudget& budget) {
  MegatronLocation location = locate_megatron(fs, path, iteration);
  MegatronFolder folder;
  folder.root = std::move(location.root);
  folder.dist_dir = std::move(location.dist_dir);
  folder.iteration = std::move(location.iteration);
  const Path metadata = folder.dist_dir / ".metadata";
  folder.metadata = with_context([&] { return printable(metadata.native()); },
                                 [&] {
                                   const auto file = fs.open_read(metadata);
                                   return read_dcp_metadata(*file, budget);
                                 });
  folder.key_prefix = strip_key_prefix(folder.metadata);
  check_files(fs, folder);
  folder.common = read_common(fs, folder, budget);
  const std::optional<Stat> config = fs.stat(folder.dist_dir / "run_config.yaml");
  folder.has_run_config = config && config->kind == Kind::kRegular;
  return folder;
}

}  // namespace bridge
