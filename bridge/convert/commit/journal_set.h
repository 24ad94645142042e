// The journals of an output, which lie beside it: one, or one for each process that wrote a part.
// Finds those with which a run can go on.
//
//   1. A journal that is torn in its header, or has no watermark, counts as none: the process was
//      killed while it began.
//   2. All others must be of these folders (the inodes of the partial folders) and of this plan
//      (its facts and its number of transfers), or none of them counts.
//   3. Sorted by their first transfer, they must not overlap.
//   4. If one says that all was written and one of two folders has its final name, an earlier run
//      was killed between the renames: that journal speaks for all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/convert/commit/journal.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// Not thread-safe.
class JournalSet {
 public:
  // outputs: all of the run; the journals lie beside the first. They, fs and budget must outlive
  // this.
  JournalSet(FileSystem& fs, const std::vector<OutputDir*>& outputs, MemoryBudget& budget)
      : fs_(fs), outputs_(outputs), budget_(budget) {}

  // Of the journal that begins with transfer `first`.
  Path path(int64_t first) const;
  Path witness_path(int64_t first) const;
  // Of the journals that are there.
  std::vector<Path> paths() const;

  struct Found {
    std::vector<Journal> journals;  // to go on with, in order; none: see why_not
    std::string why_not;
    std::vector<bool> is_renamed = {};  // by output: an earlier run did that; empty: none is
  };
  // plan: the header that a journal of this run has. bytes: of the whole output. resume: the user
  // wants to go on. On return the budget is charged for the journals' watermarks. Errors: kUsage,
  // with the first fact that differs, if `resume` and the journal is of a plan with other facts;
  // kUsage if --memory is too small.
  Found find(const JournalHeader& plan, int64_t bytes, bool resume);

  // Removes all of them and the witnesses beside them.
  void remove();

 private:
  bool is_of_these_folders(const Journal& journal, std::vector<bool>& renamed) const;

  FileSystem& fs_;
  const std::vector<OutputDir*>& outputs_;
  MemoryBudget& budget_;
};

}  // namespace bridge
