// One walk over a folder, every symlink resolved and held to its bounds.
#include "bridge/io/hf/hf_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"

namespace bridge {
namespace {

constexpr int kMaxLevels = 4;

bool is_kind(const std::optional<Stat>& stat, Kind kind) {
  return stat && stat->kind == kind;
}

// One walk over a folder.
class Walk {
 public:
  Walk(FileSystem& fs, const Path& folder, MemoryBudget& budget)
      : fs_(fs), folder_(folder), budget_(budget) {
    // Resolved, so that the folder given may itself be reached through symlinks. Links resolve to
    // full paths too, so a blobs folder that is a symlink leads nowhere that is allowed.
    real_ = fs.real_path(folder);
    if (real_.parent_path().filename() == "snapshots") {
      blobs_ = real_.parent_path().parent_path() / "blobs";
    }
  }

  HfFiles run() {
    visit_folder("", 1);
    const auto by_name = [](const HfSideFile& a, const HfSideFile& b) { return a.name < b.name; };
    std::sort(found_.files.begin(), found_.files.end(), by_name);
    std::sort(found_.too_deep.begin(), found_.too_deep.end());
    std::sort(found_.links_out.begin(), found_.links_out.end(),
              [](const HfLink& a, const HfLink& b) { return a.name < b.name; });
    return std::move(found_);
  }

 private:
  void visit_folder(const std::string& prefix, int level) {
    for (const std::string& base : fs_.list(folder_ / prefix)) {
      const std::string name = prefix + base;
      const Path path = folder_ / name;
      std::optional<Stat> stat = fs_.lstat(path);
      if (!stat) continue;  // removed since it was listed
      if (stat->kind == Kind::kDirectory) {
        if (base == ".git" || base == ".cache") continue;
        if (level == kMaxLevels) {
          reserve(name.size());
          found_.too_deep.push_back(name);
        } else {
          visit_folder(name + "/", level + 1);
        }
        continue;
      }
      if (!is_safe_relative_path(name)) {
        bad_input(
            fmt::format("{}: not a name that a file can be given elsewhere", printable(name)));
      }
      if (stat->kind == Kind::kSymlink) stat = follow(name, path);
      if (stat->kind != Kind::kRegular) {
        bad_input(fmt::format("{}: not a regular file", printable(name)));
      }
      reserve(name.size());
      found_.files.push_back({name, stat->size});
    }
  }

  std::optional<Stat> follow(const std::string& name, const Path& path) {
    const std::string target = fs_.read_link(path).string();
    std::optional<Stat> stat = fs_.stat(path);
    if (!stat) {
      bad_input(fmt::format("{}: broken symlink to {}", printable(name), printable(target)),
                blobs_ ? "the download is not complete; run it again" : "");
    }
    const Path real = fs_.real_path(path);
    if (blobs_ && real.parent_path() != *blobs_) {
      bad_input(fmt::format("{}: symlink to {}, which is not in the blobs folder of this model",
                            printable(name), printable(target)));
    }
    if (!blobs_ && stat->kind == Kind::kDirectory) {
      bad_input(
          fmt::format("{}: symlink to {}, which is a folder", printable(name), printable(target)),
          "links to files are followed; copy the folder with cp -rL");
    }
    if (!blobs_ && !lies_inside(real)) {
      reserve(name.size() + real.native().size());
      found_.links_out.push_back({name, real.native()});
    }
    return stat;
  }

  bool lies_inside(const Path& file) const {
    return std::mismatch(real_.begin(), real_.end(), file.begin(), file.end()).first == real_.end();
  }

  void reserve(size_t name_size) {
    // Twice for the growth of the vector.
    budget_.reserve(static_cast<int64_t>(2 * sizeof(HfSideFile)) + heap_cost(name_size),
                    "file names");
  }

  FileSystem& fs_;
  const Path& folder_;
  MemoryBudget& budget_;
  Path real_;
  std::optional<Path> blobs_;
  HfFiles found_;
};

}  // namespace

Path resolve_hf_path(FileSystem& fs, const Path& path) {
  if (fs.stat(path / "config.json") || !is_kind(fs.stat(path / "snapshots"), Kind::kDirectory)) {
    return path;
  }
  const Path ref = path / "refs" / "main";
  if (!is_kind(fs.lstat(ref), Kind::kRegular)) {
    bad_input(fmt::format("{}: no refs/main to choose a snapshot", printable(path.string())),
              "give the path of one snapshot (snapshots/REVISION)");
  }
  std::string revision = read_whole_file(fs, ref, 256);
  while (!revision.empty() && (revision.back() == '\n' || revision.back() == '\r')) {
    revision.pop_back();
  }
  const Path snapshot = path / "snapshots" / revision;
  if (!is_safe_file_name(revision) || !is_kind(fs.lstat(snapshot), Kind::kDirectory)) {
    bad_input(fmt::format("{}: refs/main names \"{}\", which is not a snapshot",
                          printable(path.string()), printable(revision)));
  }
  return snapshot;
}

HfFiles list_hf_files(FileSystem& fs, const Path& folder, MemoryBudget& budget) {
  return Walk(fs, folder, budget).run();
}

}  // namespace bridge
