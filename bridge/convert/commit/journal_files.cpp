#include "bridge/convert/commit/journal_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "bridge/convert/commit/journal.h"
#include "bridge/io/base/error.h"
#include "bridge/io/file/containment.h"

namespace bridge {

Path numbered_beside(const Path& target, std::string_view what, int64_t first) {
  Path path = beside_output(target, what);
  if (first > 0) path += fmt::format(".{}", first);
  return path;
}

std::vector<Path> all_numbered_beside(FileSystem& fs, const Path& target, std::string_view what) {
  const std::string name = beside_output(target, what).filename().native();
  const Path folder = parent_of(target);
  std::vector<Path> paths;
  for (const std::string& there : fs.list(folder)) {
    const bool is_one =
        there == name ||
        (there.starts_with(name + ".") && there.size() > name.size() + 1 &&
         there.find_first_not_of("0123456789", name.size() + 1) == std::string::npos);
    if (is_one) paths.push_back(folder / there);
  }
  return paths;
}

CheckReplaceable or_renamed(FileSystem& fs, const OutputOptions& options, Path journal,
                            MemoryBudget& budget, CheckReplaceable otherwise) {
  if (!options.resume) return otherwise;
  return [&fs, &budget, journal = std::move(journal),
          otherwise = std::move(otherwise)](const Path& there) {
    const Path path = journal.empty() ? beside_output(there, "journal") : journal;
    const std::optional<Stat> folder = fs.lstat(there);
    if (folder && fs.lstat(path)) {
      try {
        const Journal found = read_journal(fs, path, budget);
        budget.release(found.memory);
        if (found.is_done && std::find(found.header.folders.begin(), found.header.folders.end(),
                                       folder->inode) != found.header.folders.end()) {
          return;
        }
      } catch (const Error& error) {
        if (error.code() != Code::kBadInput) throw;
      }
    }
    if (!otherwise) refuse_existing(there);
    otherwise(there);
  };
}

}  // namespace bridge
