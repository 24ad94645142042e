// The processes that share a comparison, which has no output: they meet beside the report. Each
// compares its share of the transfers; merge() then gives all of them the differences of all, so
// that each goes on as one process would.
//
//   1. The processes find each other as those of a conversion do (launch.h).
//   2. After a step each other rank writes BASE.part.STEP.I: what it compared, and what differs.
//      Rank 0 reads them, adds its own, and writes BASE.part.STEP.0 for the others. Each file is
//      renamed into place, so it is whole.
//   3. finish() waits until everybody has read everything, and removes the files.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/commit/sections.h"
#include "bridge/convert/options.h"
#include "bridge/convert/stream/compare_sink.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/launch/launch.h"

namespace bridge {

class Meeting {
 public:
  using Differences = std::map<int32_t, CompareSink::Difference>;

  // base: how the names of the files begin. Joins the others, if there are any. Errors: those of
  // Launch.
  Meeting(FileSystem& fs, Path base, const CommonOptions& options, MemoryBudget& budget);
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  bool leads() const { return launch_.leads(); }

  // The share of this process: transfers that follow each other.
  TransferRange share(const std::vector<Transfer>& transfers) const;
  // Returns the differences of all processes. All must have the same transfers. Errors: kUsage if
  // they have not, those of Launch::check().
  Differences merge(std::string_view step, const std::vector<Transfer>& transfers,
                    const Differences& own);
  // Call it after the last merge().
  void finish();
  // Tells the others of a failure, and removes what rank 0 may remove. Never throws.
  void fail(Code code, std::string_view message) noexcept;

 private:
  Path part_path(std::string_view step, int index) const;
  void write_part(std::string_view step, const std::string& plan, const Differences& differences);
  Differences wait_for_part(std::string_view step, const std::string& plan, int index);
  std::optional<Differences> read_part(const Path& path, const std::string& plan, int index);
  void remove_parts() noexcept;

  FileSystem& fs_;
  const Path base_;
  const Rank rank_;
  MemoryBudget& budget_;
  Launch launch_;
  std::vector<std::string> steps_;  // so far
};

}  // namespace bridge
