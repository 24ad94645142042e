#include "bridge/convert/commit/portions.h"

#include <algorithm>
#include <utility>

namespace bridge {

std::vector<Portion> portions_of_rank_zero(const std::vector<std::vector<Section>>& shares,
                                           std::vector<Journal> journals) {
  std::vector<Portion> portions;
  for (const Section& section : shares.front()) {
    Portion portion{section.first, section.last, section.journal, 0, {}};
    for (Journal& journal : journals) {
      if (section.journal == section.first || journal.header.first != section.journal) continue;
      portion.before = std::move(journal.last);
      portion.journal_end = journal.end;
    }
    portions.push_back(std::move(portion));
  }
  for (Journal& journal : journals) {
    const auto continues = [&](const Section& section) {
      return section.journal == journal.header.first && section.first != section.journal;
    };
    const auto any_continues = [&](const std::vector<Section>& share) {
      return std::any_of(share.begin(), share.end(), continues);
    };
    if (std::any_of(shares.begin(), shares.end(), any_continues)) continue;
    const int64_t end = journal.last->next;
    portions.push_back({end, end, journal.header.first, journal.end, std::move(journal.last)});
  }
  return portions;
}

}  // namespace bridge
