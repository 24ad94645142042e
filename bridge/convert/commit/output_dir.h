// The crash-safety protocol of an output folder. At every moment the final name holds nothing, the
// complete old output or the complete new one.
//
//   1. Refuse a target that exists, unless it is an empty folder or overwrite allows it. Refuse a
//      target that is, contains or lies in an input (symlinks resolved; compared by inode, which
//      sees through bind mounts and case-insensitive names). Refuse a .NAME.partial or .NAME.old
//      without a lock file: a killed run leaves the lock file too, so these are somebody else's.
//   2. Make missing parents, and take an exclusive lock beside the target: .NAME.causeway.lock.
//   3. Recover from a run that was killed: rename .NAME.old back if there is no target, else remove
//      it; remove .NAME.partial, unless the caller goes on with it (resumption.h).
//   4. Ask the system whether the target can be moved at all: mount points and folders of an
//      overlay's lower layer cannot. The caller then fills .NAME.partial, which lies beside the
//      target and so on the same file system, and syncs every file.
//   5. commit(): sync every folder, bottom up; bring the partial folder under the final name; sync
//      the parent. Replacing swaps the two atomically (renameat2 RENAME_EXCHANGE). Where the file
//      system cannot swap, rename the old output to .NAME.old first; if the run is killed between
//      the two renames, step 3 of the next run brings it back. Remove the old output last.
//   6. Without commit, the destructor removes the partial folder, the lock file and the parents it
//      made. After keep() it leaves them: then the lock file, which nobody holds, says whose the
//      partial folder is.
//
// Truth: rename(2), fsync(2); the rule "metadata last, then the rename" is DESIGN's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Throws kUsage if the folder, file or link at this path must not be replaced (replaceable.h).
// OutputDir calls it before it writes anything, again under the lock, and once more at the commit.
// Empty: nothing may be replaced.
using CheckReplaceable = std::function<void(const Path& there)>;

// Reports that the target is there and may not be replaced. Error: kUsage.
[[noreturn]] void refuse_existing(const Path& target);

// Returns the name of a file that lies beside an output: .NAME.causeway.WHAT.
Path beside_output(const Path& target, std::string_view what);

class OutputDir {
 public:
  // What the constructor does with a partial folder that an earlier run left.
  enum class Leftover {
    kRemoved,
    kUndecided,  // keeps it; the caller calls start_over() or go_on() before it writes
    // Another process of this launch (launch.h) has the lock and decides. This object checks the
    // target, makes nothing and removes nothing.
    kOfRankZero,
  };

  // inputs (files or folders) must exist. If symlinks of an input lead to other folders (the blobs
  // of a Hugging Face cache), give those folders too.
  OutputDir(FileSystem& fs, const Path& target, CheckReplaceable overwrite,
            const std::vector<Path>& inputs, Leftover leftover = Leftover::kRemoved);
  OutputDir(const OutputDir&) = delete;
  OutputDir& operator=(const OutputDir&) = delete;
  ~OutputDir();

  // The folder to write into.
  const Path& path() const { return partial_; }
  // The final path; symlinks are resolved if it exists.
  const Path& target() const { return target_; }

  // The partial folder; nullopt: there is none.
  std::optional<Stat> leftover();
  // Makes the partial folder anew.
  void start_over();
  // Goes on in the partial folder that an earlier run left.
  void go_on();
  // Makes the destructor leave the partial folder, its lock file and the parents to a later run.
  void keep();
  // The journal (journal.h) lies beside the lock file.
  const Path& journal_path() const { return journal_path_; }
  // What is at the target now; nullopt: nothing.
  std::optional<Stat> at_target() { return fs_.lstat(target_); }
  // Removes what the partial folder's name holds after another run renamed the new output into
  // place: the old output, or nothing.
  void finish_other_commit() { remove_tree(fs_, partial_); }
  // Reports kIo if another run has taken the lock over.
  void check_lock() const;
  // Makes durable the names of all files and folders in the partial folder, and its own.
  void sync_names();
  // Makes durable the names beside the target, such as the journal's.
  void sync_parent() { fs_.sync_dir(parent_); }
  // Whether the target is the new output already, even if commit() failed after that.
  bool is_in_place() const { return is_in_place_; }

  // Reports kIo, with the figures, if the file system has less than this free.
  void require_space(int64_t bytes) const;
  // Requires that the writers have synced every file in path(). Call it at most once.
  void commit();

 private:
  // Undoes a step when it is destroyed, unless dismissed. Never throws.
  class Cleanup {
   public:
    Cleanup() = default;
    Cleanup(const Cleanup&) = delete;
    Cleanup& operator=(const Cleanup&) = delete;
    ~Cleanup();
    void set(std::function<void()> undo) { undo_ = std::move(undo); }
    void dismiss() { undo_ = nullptr; }

   private:
    std::function<void()> undo_;
  };

  enum class Occupant { kNothing, kEmptyFolder, kSomething };

  void resolve_target(const Path& target);
  void refuse_overlap(const std::vector<Path>& inputs);
  Occupant occupant() const;
  Occupant check_occupant() const;
  void make_parents();
  void take_lock();
  void recover();
  void refuse_strangers() const;
  void check_movable() const;
  void own_partial();  // the destructor removes the partial folder
  void rename_in();
  bool exchange_in();
  void rename_in_beside();
  void remove_replaced(const Path& old);

  FileSystem& fs_;
  const CheckReplaceable overwrite_;
  Path target_;
  Path parent_;
  Path partial_;
  Path old_;
  Path lock_path_;
  Path journal_path_;
  bool is_in_place_ = false;
  std::vector<Path> made_parents_;  // outermost first

  // Members are destroyed, and so undone, from the last to the first, also when the constructor
  // throws.
  Cleanup parents_cleanup_;
  std::unique_ptr<Lock> lock_;
  Cleanup lock_cleanup_;
  Cleanup partial_cleanup_;
};
}  // namespace bridge
