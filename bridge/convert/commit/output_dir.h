// The crash-safety protocol of an output folder: under its final name there is nothing, the old
// output or the new one, complete, whatever happens and whenever.
//
//   1. Refuse what cannot be right: a target that exists (an empty folder counts as free) without
//      overwrite; a target that is, contains or lies in one of the inputs (symlinks resolved;
//      compared by inode, so bind mounts and case-insensitive names are seen through); a
//      .NAME.partial or .NAME.old without the lock file that a killed run leaves too: somebody
//      else's.
//   2. Make missing parents, and take an exclusive lock beside the target: .NAME.causeway.lock.
//   3. Recover from a run that was killed: a .NAME.old without a target is renamed back, with one
//      it is removed; a .NAME.partial is removed.
//   4. Ask the system whether the target can be moved at all: mount points and folders of an
//      overlay's lower layer cannot. The caller fills .NAME.partial, beside the target and so on the same file system, and syncs
//      every file.
//   5. commit(): sync every folder, bottom up; bring the partial folder under the final name; sync
//      the parent. Replacing swaps the two atomically (renameat2 RENAME_EXCHANGE). Where the file
//      system cannot, the old output is renamed to .NAME.old first; killed between the two renames,
//      step 3 of the next run brings it back. The old output is removed last.
//   6. Without commit, the destructor removes the partial folder, the lock file and the parents it
//      made.
//
// Truth: rename(2), fsync(2); the rule "metadata last, then the rename" is DESIGN's.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Throws kUsage where the folder, file or link at this path is not to be replaced (replaceable.h). Asked before anything is
// written, under the lock, and once more at the commit. Empty: nothing is.
using CheckReplaceable = std::function<void(const Path& there)>;

class OutputDir {
 public:
  // inputs (files or folders) must exist; where an input is reached through symlinks to other
  // folders (the blobs of a Hugging Face cache), give those folders too.
  OutputDir(FileSystem& fs, const Path& target, CheckReplaceable overwrite,
            const std::vector<Path>& inputs);
  OutputDir(const OutputDir&) = delete;
  OutputDir& operator=(const OutputDir&) = delete;
  ~OutputDir();

  const Path& path() const { return partial_; }  // where to write
  const Path& target() const {
    return target_;
  }  // where it will be; symlinks resolved if it exists

  // kIo, with the figures, when the file system has less than this free.
  void require_space(int64_t bytes) const;
  // Every file in path() has been synced by its writer. At most once.
  void commit();

 private:
  // Undoes something when the object goes, unless dismissed. Never throws.
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
  void start_partial();
  void check_movable() const;
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
  std::vector<Path> made_parents_;  // outermost first

  // Undone from the last to the first, also when the constructor throws.
  Cleanup parents_cleanup_;
  std::unique_ptr<Lock> lock_;
  Cleanup lock_cleanup_;
  Cleanup partial_cleanup_;
};
}  // namespace bridge
