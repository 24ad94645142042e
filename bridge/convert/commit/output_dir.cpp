// See output_dir.h for the protocol; the functions below are its steps, in order.
#include "bridge/convert/commit/output_dir.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/containment.h"
#include "bridge/io/hf/hf_folder.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {
namespace {

std::string shown(const Path& path) {
  return printable(path.native());
}

bool is_folder(FileSystem& fs, const Path& path) {
  const std::optional<Stat> there = fs.stat(path);
  return there && there->kind == Kind::kDirectory;
}

// "a/b/" and "a/b/." as "a/b".
Path without_trailing(Path path) {
  while (path.has_relative_path() && (path.filename().empty() || path.filename() == ".")) {
    path = path.parent_path();
  }
  return path;
}

void sync_folders(FileSystem& fs, const Path& folder) {
  for (const std::string& name : fs.list(folder)) {
    const std::optional<Stat> there = fs.lstat(folder / name);
    if (there && there->kind == Kind::kDirectory) sync_folders(fs, folder / name);
  }
  fs.sync_dir(folder);
}

}  // namespace

OutputDir::Cleanup::~Cleanup() {
  if (!undo_) return;
  try {
    undo_();
  } catch (...) {  // on the way out of an error, which is what the user must see
  }
}

OutputDir::OutputDir(FileSystem& fs, const Path& target, bool overwrite,
                     const std::vector<Path>& inputs)
    : fs_(fs), overwrite_(overwrite) {
  resolve_target(target);
  refuse_overlap(inputs);
  check_occupant();  // before anything is touched
  make_parents();
  take_lock();
  recover();
  check_occupant();  // again: it may have been brought back, or another run may have finished
  start_partial();
}

OutputDir::~OutputDir() = default;

// Sets the names. An existing folder is named by its real path: a symlink to a folder keeps
// pointing to it.
void OutputDir::resolve_target(const Path& target) {
  if (target.empty()) usage_error("the output folder has an empty name");
  target_ = is_folder(fs_, target) ? fs_.real_path(target) : without_trailing(target);
  const Path name = target_.filename();
  if (name.empty() || name == "." || name == "..") {
    usage_error(fmt::format("{}: cannot be an output folder", shown(target)),
                "name a folder of its own");
  }
  parent_ = parent_of(target_);
  partial_ = parent_ / fmt::format(".{}.partial", name.native());
  old_ = parent_ / fmt::format(".{}.old", name.native());
}

void OutputDir::refuse_overlap(const std::vector<Path>& inputs) {
  Path existing = parent_;
  while (!fs_.stat(existing)) {
    if (existing.filename() == "..") {
      usage_error(fmt::format("{}: '..' after a folder that does not exist", shown(target_)));
    }
    existing = parent_of(existing);
  }
  if (!is_folder(fs_, existing)) {
    usage_error(
        fmt::format("{}: cannot be created, {} is not a folder", shown(target_), shown(existing)));
  }
  const Path real_parent = fs_.real_path(existing);
  for (const Path& input : inputs) {
    const Path real_input = fs_.real_path(input);
    const std::optional<Stat> there = fs_.stat(real_input);
    if (there && lies_in(fs_, real_parent, *there)) {
      usage_error(
          fmt::format("{}: the output lies inside the input {}", shown(target_), shown(input)),
          "choose an output folder outside it");
    }
    // The partial and old folders are removed by this run, so an input there is as lost as one in
    // the target.
    for (const Path& written : {target_, partial_, old_}) {
      const std::optional<Stat> folder = fs_.stat(written);
      if (folder && lies_in(fs_, real_input, *folder)) {
        usage_error(
            fmt::format("{}: the input {} lies inside the output", shown(written), shown(input)),
            "choose another output folder");
      }
    }
  }
}

OutputDir::Occupant OutputDir::occupant() const {
  const std::optional<Stat> there = fs_.lstat(target_);
  if (!there) return Occupant::kNothing;
  if (there->kind != Kind::kDirectory) return Occupant::kSomething;
  return fs_.list(target_).empty() ? Occupant::kEmptyFolder : Occupant::kSomething;
}

// What is in the target's place; refuses what may not be replaced.
OutputDir::Occupant OutputDir::check_occupant() const {
  const Occupant there = occupant();
  if (there == Occupant::kSomething && !overwrite_) {
    usage_error(fmt::format("{}: already exists", shown(target_)),
                "give --overwrite to replace it, or choose another output folder");
  }
  return there;
}

void OutputDir::make_parents() {
  std::vector<Path> missing;
  for (Path at = parent_; !fs_.stat(at); at = parent_of(at)) {
    missing.push_back(at);
  }
  parents_cleanup_.set([this] {
    for (auto made = made_parents_.rbegin(); made != made_parents_.rend(); ++made) {
      fs_.remove_dir(*made);
    }
  });
  for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
    fs_.make_dir(*folder);
    made_parents_.push_back(*folder);
  }
}

void OutputDir::take_lock() {
  const Path lock_path = parent_ / fmt::format(".{}.causeway.lock", target_.filename().native());
  lock_ = fs_.try_lock(lock_path);
  if (lock_ == nullptr) {
    throw Error(Code::kIo, fmt::format("{}: another run is writing it", shown(target_)),
                fmt::format("wait for it to end; it holds {}", shown(lock_path)));
  }
  // Removed while it is held, so that nobody else's lock file is.
  lock_cleanup_.set([this, lock_path] { fs_.remove_file(lock_path); });
}

void OutputDir::recover() {
  if (!fs_.lstat(old_)) return;
  const Occupant there = occupant();
  if (there == Occupant::kSomething) {
    remove_tree(fs_, old_);
    return;
  }
  // The only copy of the old output.
  if (there == Occupant::kEmptyFolder) fs_.remove_dir(target_);
  fs_.rename(old_, target_);
  fs_.sync_dir(parent_);
}

// The one place that decides about a partial folder that a killed run left. It may also be the
// output that a run killed at the end of its commit had replaced.
void OutputDir::start_partial() {
  remove_tree(fs_, partial_);
  partial_cleanup_.set([this] { remove_tree(fs_, partial_); });
  fs_.make_dir(partial_);
}

// A step that fails is undone by the cleanups, so that running again finds what this run found.
void OutputDir::require_space(int64_t bytes) const {
  const int64_t available = fs_.free_bytes(partial_);
  if (available < bytes) {
    throw Error(Code::kIo,
                fmt::format("{}: {} are needed and {} are free", printable(target_.string()),
                            size_text(bytes), size_text(available)),
                "free some space or choose another file system");
  }
}

void OutputDir::commit() {
  sync_folders(fs_, partial_);
  for (const Path& made : made_parents_) fs_.sync_dir(parent_of(made));
  const Occupant there = check_occupant();
  Cleanup put_back;
  if (there == Occupant::kEmptyFolder) {
    fs_.remove_dir(target_);  // and not an exchange: it refuses what somebody put there meanwhile
    put_back.set([this] { fs_.make_dir(target_); });
  }
  if (there == Occupant::kSomething) {
    if (!exchange_in()) rename_in_beside();
  } else {
    rename_in();
  }
  put_back.dismiss();
  parents_cleanup_.dismiss();
}

void OutputDir::rename_in() {
  fs_.rename(partial_, target_);
  Cleanup take_out;
  take_out.set([this] { fs_.rename(target_, partial_); });
  fs_.sync_dir(parent_);
  take_out.dismiss();
  partial_cleanup_.dismiss();
}

bool OutputDir::exchange_in() {
  if (!fs_.exchange(partial_, target_)) return false;
  partial_cleanup_.dismiss();  // the old output is there now
  Cleanup take_out;
  take_out.set([this] {
    if (fs_.exchange(partial_, target_)) remove_tree(fs_, partial_);
  });
  fs_.sync_dir(parent_);
  take_out.dismiss();
  remove_replaced(partial_);
  return true;
}

void OutputDir::rename_in_beside() {
  fs_.rename(target_, old_);
  Cleanup bring_back;
  bring_back.set([this] { fs_.rename(old_, target_); });
  rename_in();
  bring_back.dismiss();
  remove_replaced(old_);
}

void OutputDir::remove_replaced(const Path& old) {
  with_context("the new output is in place, the old one was not removed",
               [&] { remove_tree(fs_, old); });
}

void refuse_to_replace_others(FileSystem& fs, const Path& target) {
  const std::optional<Stat> there = fs.stat(target);
  if (!there || there->kind != Kind::kDirectory || fs.list(target).empty()) return;
  const bool sidecar = fs.stat(target / "manifest.json") && fs.stat(target / "source_crc32.tsv");
  if (!sidecar && !looks_like_megatron(fs, target) && !looks_like_hf_folder(fs, target)) {
    usage_error(printable(target.string()) + ": --overwrite replaces checkpoints, and this is none",
                "choose another output folder, or remove this one yourself");
  }
}

}  // namespace bridge
