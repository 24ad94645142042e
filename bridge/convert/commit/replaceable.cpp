#include "bridge/convert/commit/replaceable.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "bridge/convert/commit/megatron_files.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/sidecar/sidecar.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {
namespace {

constexpr int64_t kBudget = 64 << 20;  // for the small files of the replaced folder

constexpr const char* kHint = "choose another output folder, or remove this one yourself";

[[noreturn]] void refuse(const Path& there, std::string_view what, const char* hint = kHint) {
  usage_error(fmt::format("{}: --overwrite replaces what causeway wrote there, and {}",
                          printable(there.native()), what),
              hint);
}

void check_is_folder(FileSystem& fs, const Path& there) {
  const std::optional<Stat> found = fs.lstat(there);
  if (!found || found->kind != Kind::kDirectory) refuse(there, "this is no folder");
}

// Refuses a folder unless every name in it is ours and of the right kind.
using IsOurs = std::function<bool(const std::string& name, Kind kind)>;
void check_names(FileSystem& fs, const Path& there, const IsOurs& is_ours) {
  check_is_folder(fs, there);
  for (const std::string& name : fs.list(there)) {
    const std::optional<Stat> found = fs.lstat(there / name);
    if (found && !is_ours(name, found->kind)) {
      const bool trained = name.starts_with("iter_") && fs.lstat(there / kIterationFolder);
      refuse(there, printable(name) + " in it is something else",
             trained ? "--overwrite-iteration replaces iter_0000000 and causeway/ alone" : kHint);
    }
  }
}

bool is_data_file(std::string_view name) {
  return name.starts_with("__") && name.ends_with(".distcp");
}

bool is_in_root(const std::string& name, Kind kind) {
  if (name == kIterationFolder || name == kSidecarFolder) return kind == Kind::kDirectory;
  if (name == "release") return kind == Kind::kSymlink;
  return kind == Kind::kRegular &&
         (name == "latest_checkpointed_iteration.txt" || name == "latest_train_state.pt");
}

void check_iteration_names(FileSystem& fs, const Path& there) {
  check_names(fs, there, [](const std::string& name, Kind kind) {
    return kind == Kind::kRegular &&
           (is_data_file(name) ||
            std::find(kMetadataFiles.begin(), kMetadataFiles.end(), name) != kMetadataFiles.end());
  });
}

void check_sidecar_names(FileSystem& fs, const Path& there) {
  check_names(fs, there, [](const std::string& name, Kind kind) {
    if (name == "headers" || name == "files") return kind == Kind::kDirectory;
    return kind == Kind::kRegular && (name == "manifest.json" || name == "source_crc32.tsv" ||
                                      name == "witnesses.bin" || name == kMappingFile);
  });
}

// Returns the id in a sidecar. It is empty if a version without ids wrote the sidecar, and nullopt
// if the folder is not a sidecar.
std::optional<std::string> sidecar_id(FileSystem& fs, const Path& there) {
  const Path path = there / "manifest.json";
  if (!fs.stat(path)) return std::nullopt;
  try {
    const nlohmann::ordered_json manifest = parse_json(read_whole_file(fs, path, kLargestManifest));
    if (!manifest.contains("format") || !manifest.contains("identity")) return std::nullopt;
    return manifest.value("id", "");
  } catch (const Error& error) {
    if (error.code() != Code::kBadInput) throw;
  } catch (const nlohmann::json::exception&) {
  }
  return std::nullopt;
}

void check_proof(FileSystem& fs, const Path& there, const Path& iteration, const Path& sidecar) {
  MemoryBudget budget(kBudget);
  if (!read_conversion_id(fs, iteration, budget).empty()) return;
  const std::optional<std::string> recorded = sidecar_id(fs, sidecar);
  if (!recorded) refuse(there, "nothing in it says that this is such a checkpoint");
  if (!recorded->empty()) {
    refuse(there, fmt::format("{} is not what its {} was written with",
                              printable(iteration.filename().native()), kSidecarFolder));
  }
}

}  // namespace

void check_checkpoint_is_ours(FileSystem& fs, const Path& there) {
  check_names(fs, there, is_in_root);
  const Path iteration = there / kIterationFolder;
  const Path sidecar = there / kSidecarFolder;
  if (fs.lstat(iteration)) check_iteration_names(fs, iteration);
  if (fs.lstat(sidecar)) check_sidecar_names(fs, sidecar);
  check_proof(fs, there, iteration, sidecar);
}

void check_iteration_is_ours(FileSystem& fs, const Path& there) {
  check_iteration_names(fs, there);
  check_proof(fs, there, there, there.parent_path() / kSidecarFolder);
}

void check_sidecar_is_ours(FileSystem& fs, const Path& there) {
  check_sidecar_names(fs, there);
  if (!sidecar_id(fs, there)) refuse(there, "this is no sidecar");
}

namespace {

// True for the names that any export gives its shards: model.safetensors,
// model-00001-of-00002.safetensors.
bool is_shard(std::string_view name) {
  return name.starts_with("model") && name.ends_with(".safetensors") &&
         name.find('/') == std::string_view::npos;
}

void check_model_names(FileSystem& fs, const Path& there, const std::string& folder,
                       const std::set<std::string>& names) {
  check_names(fs, there / folder, [&](const std::string& name, Kind kind) {
    const std::string path = folder.empty() ? name : folder + "/" + name;
    if (kind == Kind::kRegular) return names.contains(path) || is_shard(path);
    const auto next = names.lower_bound(path + "/");
    if (kind != Kind::kDirectory || next == names.end() || !next->starts_with(path + "/")) {
      return false;
    }
    check_model_names(fs, there, path, names);
    return true;
  });
}

}  // namespace

void check_model_is_ours(FileSystem& fs, const Path& there, const std::set<std::string>& names) {
  check_model_names(fs, there, "", names);
  if (!fs.stat(there / "config.json")) refuse(there, "this is no model");
}

}  // namespace bridge
