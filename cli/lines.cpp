#include "cli/lines.h"

#include <fmt/format.h>

namespace cli {

void list(Lines& lines, std::string_view what, const std::vector<bridge::NamedReason>& items) {
  constexpr size_t kMostListed = 4;
  for (size_t first = 0, end = 0; first < items.size(); first = end) {
    while (end < items.size() && items[end].reason == items[first].reason) ++end;
    if (end - first > kMostListed) {
      lines.push_back(fmt::format("{} {} and {} more: {}", what, items[first].name, end - first - 1,
                                  items[first].reason));
      continue;
    }
    for (size_t i = first; i < end; ++i) {
      lines.push_back(fmt::format("{} {}: {}", what, items[i].name, items[i].reason));
    }
  }
}

void list_beside_model(Lines& lines, const bridge::BesideModel& beside) {
  list(lines, "not converted", beside.not_converted);
  list(lines, "linked  ", beside.links_out);
}

}  // namespace cli
