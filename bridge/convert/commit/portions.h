// What one process writes of an output, cut where its journals begin and end. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bridge/convert/commit/journal.h"
#include "bridge/convert/commit/sections.h"

namespace bridge {

// Transfers [first, last), which this process writes after each other.
struct Portion {
  int64_t first = 0;
  int64_t last = 0;
  int64_t journal = 0;              // the first transfer of its journal
  int64_t journal_end = 0;          // see Journal::end
  std::optional<Watermark> before;  // of the journal, which the portion continues
};

// Returns the portions of rank 0, whose sections are shares.front(). shares: what share_out() gave
// for these journals. Beside its sections, rank 0 gets an empty portion for each journal that no
// process continues: all that this journal covers is written, and its last part is checked there.
std::vector<Portion> portions_of_rank_zero(const std::vector<std::vector<Section>>& shares,
                                           std::vector<Journal> journals);

}  // namespace bridge
