// What an export counts while it copies, over all runs and processes of one output: blocks that
// kept their source's bytes or were quantized anew, witnesses, and what casts did to values. A
// watermark of the journal holds the numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/convert/export.h"
#include "bridge/convert/plan/export_plan.h"
#include "bridge/convert/stream/cast_check.h"
#include "bridge/convert/stream/executor.h"

namespace bridge {

class ExportCounts {
 public:
  // allow_changes: a cast may change values, because the user asked for the dtype. The plan must
  // outlive the counts.
  ExportCounts(bool allow_changes, const ExportPlan& plan);

  BlockCounts& blocks() { return blocks_; }
  CastCheck& casts() { return casts_; }

  // All that was counted, for a watermark. Call these while no slice is in work.
  std::vector<int64_t> numbers() const;
  // Adds the numbers of another run or process. Error: kBadInput if numbers() did not make them.
  void add(const std::vector<int64_t>& numbers);
  void clear();

  void describe(ExportSummary& report) const;

 private:
  BlockCounts blocks_;
  CastCheck casts_;
};

}  // namespace bridge
