#include "bridge/io/torch_dist/megatron_location.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {
namespace {

constexpr std::string_view kTracker = "latest_checkpointed_iteration.txt";
constexpr std::string_view kSidecar = "causeway";
constexpr std::string_view kRelease = "release";
constexpr std::string_view kIterationHint = "choose an iteration with --iteration";
constexpr int64_t kMostTrackerBytes = 4096;
constexpr int64_t kMostJsonBytes = 1 << 16;

bool exists(FileSystem& fs, const Path& path) {
  return fs.stat(path).has_value();
}

bool is_folder(FileSystem& fs, const Path& path) {
  const std::optional<Stat> stat = fs.stat(path);
  return stat && stat->kind == Kind::kDirectory;
}

// Accepts digits only. Returns nullopt also if the number does not fit.
std::optional<int64_t> number_of(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.front() == '-' || error != std::errc() ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

std::string folder_of_iteration(int64_t number) {
  return fmt::format("iter_{:07d}", number);
}

// "iter_0001000" -> 1000; Megatron accepts no other spelling.
std::optional<int64_t> iteration_of_folder(std::string_view name) {
  constexpr std::string_view kPrefix = "iter_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::optional<int64_t> number = number_of(name.substr(kPrefix.size()));
  return number && folder_of_iteration(*number) == name ? number : std::nullopt;
}

bool holds_checkpoint(FileSystem& fs, const Path& path) {
  return exists(fs, path / ".metadata") || exists(fs, path / "metadata.json");
}

// Returns the folder of weights inside a NeMo checkpoint; nullopt if path is not such a checkpoint.
std::optional<Path> weights_of_nemo(FileSystem& fs, const Path& path) {
  for (const std::string_view name : {"weights", "model_weights"}) {
    if (holds_checkpoint(fs, path / name)) return path / name;
  }
  return std::nullopt;
}

std::optional<std::string> find_name(const std::vector<std::string>& names, std::string_view prefix,
                                     std::string_view suffix) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
    return name.starts_with(prefix) && name.ends_with(suffix);
  });
  return found == names.end() ? std::nullopt : std::optional(*found);
}

// Returns the numbers of the iter_* folders in ascending order.
std::vector<int64_t> iterations_in(FileSystem& fs, const Path& root) {
  std::vector<int64_t> numbers;
  for (const std::string& name : fs.list(root)) {
    const std::optional<int64_t> number = iteration_of_folder(name);
    if (number && is_folder(fs, root / name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// Formats a list with at most the last eight iterations: "it has 0, 500 and release".
std::string iterations_text(FileSystem& fs, const Path& root) {
  std::vector<std::string> names;
  std::vector<int64_t> numbers = iterations_in(fs, root);
  constexpr size_t kMost = 8;
  if (numbers.size() > kMost) numbers.erase(numbers.begin(), numbers.end() - kMost);
  for (const int64_t number : numbers) names.push_back(std::to_string(number));
  if (is_folder(fs, root / kRelease)) names.emplace_back(kRelease);
  if (names.empty()) return "it has none";
  std::string text = "it has " + names.front();
  for (size_t i = 1; i < names.size(); ++i) text += ", " + names[i];
  return text;
}

std::string read_tracker(FileSystem& fs, const Path& tracker) {
  const std::string content = read_whole_file(fs, tracker, kMostTrackerBytes);
  constexpr std::string_view kSpace = " \t\r\n";
  std::string_view text = content;
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  text = text.substr(0, text.find_last_not_of(kSpace) + 1);
  if (text == kRelease) return std::string(text);
  const std::optional<int64_t> number = number_of(text);
  if (!number) {
    bad_input(fmt::format("{}: says '{}', which is neither a number nor 'release'",
                          printable(tracker.native()), printable(text.substr(0, 40))),
              std::string(kIterationHint));
  }
  return std::to_string(*number);
}

// Throws an error that says what the folder is, since it is not a checkpoint we know.
[[noreturn]] void refuse_unknown(FileSystem& fs, const Path& path) {
  const std::string shown = printable(path.native());
  const std::vector<std::string> names = fs.list(path);
  if (const auto nemo = find_name(names, "", ".nemo")) {
    unsupported(fmt::format("{}: holds {}, a NeMo archive", shown, printable(*nemo)),
                "export it from NeMo as a Megatron torch_dist or a Hugging Face checkpoint");
  }
  if (const auto bin = find_name(names, "", ".bin")) {
    unsupported(fmt::format("{}: holds {}, pickled weights", shown, printable(*bin)),
                "save the model as safetensors (save_pretrained of transformers does)");
  }
  bad_input(fmt::format("{}: not a Megatron checkpoint (no {}, no iter_* folder, no .metadata)",
                        shown, kTracker));
}

std::string choose_iteration(FileSystem& fs, const Path& root, std::string_view asked) {
  if (asked == kRelease) return std::string(kRelease);
  if (!asked.empty() && asked != "latest") {
    const std::optional<int64_t> number = number_of(asked);
    if (!number) {
      usage_error(
          fmt::format("--iteration '{}' is not a number, 'release' or 'latest'", printable(asked)));
    }
    return std::to_string(*number);
  }
  if (asked.empty() && exists(fs, root / kTracker)) return read_tracker(fs, root / kTracker);
  const std::vector<int64_t> numbers = iterations_in(fs, root);
  if (!numbers.empty()) return std::to_string(numbers.back());
  if (is_folder(fs, root / kRelease)) return std::string(kRelease);
  refuse_unknown(fs, root);
}

// `release` is often a symlink to an iter_* folder beside it. Refuses a symlink that leads
// elsewhere.
void check_inside(FileSystem& fs, const Path& root, const Path& folder) {
  const std::optional<Stat> stat = fs.lstat(folder);
  if (!stat || stat->kind != Kind::kSymlink) return;
  const Path real_root = fs.real_path(root);
  const Path real_folder = fs.real_path(folder);
  const auto [end, unused] =
      std::mismatch(real_root.begin(), real_root.end(), real_folder.begin(), real_folder.end());
  if (end != real_root.end()) {
    bad_input(
        fmt::format("{}: a symlink that leads out of the checkpoint", printable(folder.native())),
        "name the folder it leads to instead");
  }
}

// "a/b/" and "." have no last component, so the name comes from the real path.
Path with_name(FileSystem& fs, const Path& path) {
  const Path trimmed = path.has_filename() ? path : path.parent_path();
  const Path name = trimmed.filename();
  return name.empty() || name == "." || name == ".." ? fs.real_path(path) : trimmed;
}

MegatronLocation locate_iteration_folder(FileSystem& fs, const Path& path, std::string_view asked) {
  const Path folder = with_name(fs, path);
  const std::string name = folder.filename().native();
  MegatronLocation found{.root = folder, .dist_dir = folder, .iteration = {}};
  if (name == kRelease) {
    found.iteration = name;
  } else if (const std::optional<int64_t> number = iteration_of_folder(name)) {
    found.iteration = std::to_string(*number);
  }
  const Path parent = folder.has_parent_path() ? folder.parent_path() : Path(".");
  if (!found.iteration.empty() || exists(fs, parent / kTracker) ||
      is_folder(fs, parent / kSidecar)) {
    found.root = parent;
  }
  if (!asked.empty() && asked != "latest" && asked != found.iteration) {
    usage_error(fmt::format("--iteration {}: {} is an iteration folder itself", printable(asked),
                            printable(path.native())),
                "name its parent folder, or leave --iteration out");
  }
  return found;
}

// Refuses kinds other than torch_dist.
void check_kind(FileSystem& fs, const Path& dist_dir) {
  const std::string shown = printable(dist_dir.native());
  const std::vector<std::string> names = fs.list(dist_dir);
  if (const auto rank = find_name(names, "mp_rank_", "")) {
    unsupported(fmt::format("{}: holds {}, a legacy 'torch' checkpoint", shown, printable(*rank)),
                "load it in Megatron-LM and save it again with --ckpt-format torch_dist "
                "(--ckpt-convert-format torch_dist --ckpt-convert-save DIR does it in one run)");
  }
  if (find_name(names, "modelopt_state", "")) {
    unsupported(
        fmt::format("{}: holds modelopt_state, a model quantized or pruned by ModelOpt", shown),
        "export it with ModelOpt or Megatron-Bridge, or convert the model it was made from");
  }
  const bool has_metadata = exists(fs, dist_dir / ".metadata");
  const Path json_path = dist_dir / "metadata.json";
  if (!exists(fs, json_path)) {
    if (!has_metadata) refuse_unknown(fs, dist_dir);
    unsupported(fmt::format("{}: .metadata without metadata.json, a checkpoint of plain torch DCP "
                            "('fsdp_dtensor' or 'torch_dcp')",
                            shown),
                "load it where it was written and save it again with --ckpt-format torch_dist");
  }
  const std::string backend = with_context(printable(json_path.native()), [&] {
    JsonLimits limits;
    limits.max_bytes = kMostJsonBytes;
    limits.max_depth = 8;
    const nlohmann::ordered_json json =
        parse_json(read_whole_file(fs, json_path, kMostJsonBytes), limits);
    const auto found = json.find("sharded_backend");
    if (!json.is_object() || found == json.end() || !found->is_string()) {
      bad_input("no \"sharded_backend\", so this is not a Megatron checkpoint");
    }
    return found->get<std::string>();
  });
  if (backend != "torch_dist") {
    unsupported(fmt::format("{}: sharded_backend is '{}', not 'torch_dist'",
                            printable(json_path.native()), printable(backend)),
                "load it with the Megatron-Core that wrote it and save it again with "
                "--ckpt-format torch_dist");
  }
  if (!has_metadata) {
    bad_input(
        fmt::format("{}: .metadata is missing: the checkpoint was not saved to the end", shown));
  }
}

}  // namespace

MegatronLocation locate_megatron(FileSystem& fs, const Path& path, std::string_view iteration) {
  const std::string shown = printable(path.native());
  const std::optional<Stat> stat = fs.stat(path);
  if (!stat) bad_input(fmt::format("{}: no such file or folder", shown));
  if (stat->kind != Kind::kDirectory) {
    if (path.native().ends_with(".nemo")) {
      unsupported(fmt::format("{}: a NeMo archive", shown),
                  "export it from NeMo as a Megatron torch_dist or a Hugging Face checkpoint");
    }
    bad_input(fmt::format("{}: not a folder", shown));
  }
  MegatronLocation found;
  if (holds_checkpoint(fs, path) || find_name(fs.list(path), "mp_rank_", "")) {
    found = locate_iteration_folder(fs, path, iteration);
  } else if (const std::optional<Path> nemo = weights_of_nemo(fs, path)) {
    if (!iteration.empty() && iteration != "latest") {
      usage_error(fmt::format("--iteration {}: {} is a checkpoint of NeMo, which has one",
                              printable(iteration), shown));
    }
    found = {.root = path, .dist_dir = *nemo, .iteration = {}};
    check_inside(fs, found.root, found.dist_dir);
  } else {
    found.root = path;
    found.iteration = choose_iteration(fs, path, iteration);
    found.dist_dir =
        path / (found.iteration == kRelease ? found.iteration
                                            : folder_of_iteration(*number_of(found.iteration)));
    if (!is_folder(fs, found.dist_dir)) {
      bad_input(fmt::format("{}: there is no iteration {}; {}", shown, found.iteration,
                            iterations_text(fs, path)),
                std::string(kIterationHint));
    }
    check_inside(fs, found.root, found.dist_dir);
  }
  check_kind(fs, found.dist_dir);
  return found;
}

bool looks_like_megatron(FileSystem& fs, const Path& path) {
  if (path.native().ends_with(".nemo")) return true;
  if (!is_folder(fs, path)) return false;
  const std::vector<std::string> names = fs.list(path);
  const auto telling = [&](const std::string& name) {
    return name == kTracker || name == ".metadata" || name.starts_with("mp_rank_") ||
           iteration_of_folder(name).has_value();
  };
  if (std::any_of(names.begin(), names.end(), telling)) return true;
  if (holds_checkpoint(fs, path / kRelease) || weights_of_nemo(fs, path)) return true;
  // Other software also writes files with this name.
  const std::optional<Stat> json = fs.stat(path / "metadata.json");
  return json && json->kind == Kind::kRegular && json->size <= kMostJsonBytes &&
         read_whole_file(fs, path / "metadata.json", kMostJsonBytes).find("sharded_backend") !=
             std::string::npos;
}

}  // namespace bridge
