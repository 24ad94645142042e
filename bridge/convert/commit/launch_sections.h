// What rank 0 tells the other ranks of a conversion (bridge/io/launch): the plan, by the header of
// its journals, and the sections of each rank.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/convert/commit/journal.h"
#include "bridge/convert/commit/sections.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/launch/launch.h"

namespace bridge {

// sections: by rank.
void open_launch(Launch& launch, const JournalHeader& header,
                 const std::vector<std::vector<Section>>& sections);

struct LaunchPart {
  std::vector<uint64_t> folders;  // JournalHeader::folders of the launch
  std::vector<Section> sections;  // of this rank
};

// The other ranks: waits until rank 0 has opened the launch. Errors: those of Launch::join(), and
// kUsage for another plan.
LaunchPart join_launch(Launch& launch, const PlanFacts& facts, MemoryBudget& budget);

}  // namespace bridge
