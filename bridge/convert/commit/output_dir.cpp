// The functions below are the steps of the protocol in output_dir.h, in order.
#include "bridge/convert/commit/output_dir.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/containment.h"

namespace bridge {
namespace {

constexpr std::string_view kProbe = ".causeway";  // see check_movable()

std::string shown(const Path& path) {
  return printable(path.native());
}

bool is_folder(FileSystem& fs, const Path& path) {
  const std::optional<Stat> there = fs.stat(path);
  return there && there->kind == Kind::kDirectory;
}

// Turns "a/b/" and "a/b/." into "a/b".
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

void refuse_existing(const Path& target) {
  usage_error(fmt::format("{}: already exists", shown(target)),
              "give --overwrite to replace it, or choose another output folder");
}

Path beside_output(const Path& target, std::string_view what) {
  return parent_of(target) / fmt::format(".{}.causeway.{}", target.filename().native(), what);
}

OutputDir::Cleanup::~Cleanup() {
  if (!undo_) return;
  try {
    undo_();
  } catch (...) {  // the user must see the error that led here, not this one
  }
}

OutputDir::OutputDir(FileSystem& fs, const Path& target, CheckReplaceable overwrite,
                     const std::vector<Path>& inputs, Leftover leftover_folder)
    : fs_(fs), overwrite_(std::move(overwrite)) {
  resolve_target(target);
  refuse_overlap(inputs);
  check_occupant();  // before anything is touched
  if (leftover_folder == Leftover::kOfRankZero) return;
  refuse_strangers();
  make_parents();
  take_lock();
  recover();
  check_occupant();  // again: recover() may have brought one back, or another run may have finished
  if (leftover_folder == Leftover::kRemoved) start_over();
}

OutputDir::~OutputDir() = default;

// Sets the names. Takes the real path of an existing folder, so that a symlink to it keeps pointing
// to it.
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
  lock_path_ = beside_output(target_, "lock");
  journal_path_ = beside_output(target_, "journal");
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
    // This run removes the partial and old folders, so an input there is as lost as one in the
    // target.
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

// Returns what occupies the target. Refuses an occupant that may not be replaced.
OutputDir::Occupant OutputDir::check_occupant() const {
  const Occupant there = occupant();
  if (there != Occupant::kSomething) return there;
  if (!overwrite_) refuse_existing(target_);
  overwrite_(target_);
  return there;
}

void OutputDir::refuse_strangers() const {
  if (fs_.lstat(lock_path_)) return;
  for (const Path& name : {partial_, old_}) {
    if (!fs_.lstat(name)) continue;
    usage_error(
        fmt::format("{}: is there, and no run of causeway left it", shown(name)),
        "move it away: this is the name of a folder that is removed when the output is done");
  }
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
  lock_ = fs_.try_lock(lock_path_);
  if (lock_ == nullptr) {
    throw Error(Code::kIo, fmt::format("{}: another run is writing it", shown(target_)),
                fmt::format("wait for it to end; it holds {}", shown(lock_path_)));
  }
  // The file goes while the lock is held; later it could be another run's. It stays beside what a
  // killed run left and this one did not remove: refuse_strangers() knows those folders by it.
  lock_cleanup_.set([this] {
    if (!fs_.lstat(partial_) && !fs_.lstat(old_)) fs_.remove_file(lock_path_);
  });
  if (!lock_->notice().empty()) print_message(fmt::format("notice: {}\n", lock_->notice()));
}

void OutputDir::recover() {
  if (!fs_.lstat(old_)) return;
  const Occupant there = occupant();
  if (there == Occupant::kSomething) {
    remove_tree(fs_, old_);
    return;
  }
  // old_ is the only copy of the old output.
  if (there == Occupant::kEmptyFolder) fs_.remove_dir(target_);
  fs_.rename(old_, target_);
  fs_.sync_dir(parent_);
}

void OutputDir::check_lock() const {
  if (lock_ != nullptr) lock_->check();
}

std::optional<Stat> OutputDir::leftover() {
  return fs_.lstat(partial_);
}

// The partial folder may also be the output that a run killed at the end of its commit had
// replaced.
void OutputDir::start_over() {
  remove_tree(fs_, partial_);
  own_partial();
  fs_.make_dir(partial_);
  check_movable();
}

void OutputDir::go_on() {
  own_partial();
  remove_tree(fs_, partial_ / kProbe);  // of a run that was killed in check_movable()
  check_movable();
}

void OutputDir::own_partial() {
  partial_cleanup_.set([this] { remove_tree(fs_, partial_); });
}

void OutputDir::keep() {
  partial_cleanup_.dismiss();
  parents_cleanup_.dismiss();
}

void OutputDir::sync_names() {
  sync_folders(fs_, partial_);
  for (const Path& made : made_parents_) fs_.sync_dir(parent_of(made));
  sync_parent();
}

// Refuses a target that the commit could not move. rename(2) reports such a target before it
// reports that the other folder is not empty, so renaming onto a full folder tests the move without
// making it.
void OutputDir::check_movable() const {
  const Occupant there = occupant();
  if (there == Occupant::kNothing) return;
  const Path inside = partial_ / kProbe;
  fs_.make_dir(inside);
  const int error_number = fs_.rename_onto_full(target_, partial_);
  fs_.remove_dir(inside);
  if (error_number == EBUSY) {
    usage_error(fmt::format("{}: is a mount point, which cannot be replaced", shown(target_)),
                fmt::format("name a folder in it: {}", shown(target_ / "NAME")));
  }
  if (error_number == EXDEV && there == Occupant::kSomething) {
    usage_error(fmt::format("{}: comes from a lower layer of an overlay file system (a container's "
                            "image) and cannot be replaced",
                            shown(target_)),
                "choose another output folder");
  }
  if (error_number == EACCES || error_number == EPERM) {
    io_error(target_.native(), "rename", error_number);
  }
}

void OutputDir::require_space(int64_t bytes) const {
  const int64_t available = fs_.free_bytes(partial_);
  if (available < bytes) {
    throw Error(Code::kIo,
                fmt::format("{}: {} are needed and {} are free", printable(target_.string()),
                            size_text(bytes), size_text(available)),
                "free some space or choose another file system");
  }
}

// The cleanups undo a step that fails, so that the next run finds what this run found.
void OutputDir::commit() {
  check_lock();
  sync_folders(fs_, partial_);
  for (const Path& made : made_parents_) fs_.sync_dir(parent_of(made));
  const Occupant there = check_occupant();
  Cleanup put_back;
  if (there == Occupant::kEmptyFolder) {
    fs_.remove_dir(target_);  // no exchange: this refuses a folder that was filled meanwhile
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
  is_in_place_ = true;
}

bool OutputDir::exchange_in() {
  if (!fs_.exchange(partial_, target_)) return false;
  partial_cleanup_.dismiss();  // partial_ is the old output now
  Cleanup take_out;
  take_out.set([this] {
    if (fs_.exchange(partial_, target_)) own_partial();
  });
  fs_.sync_dir(parent_);
  take_out.dismiss();
  is_in_place_ = true;
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

}  // namespace bridge
