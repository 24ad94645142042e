#include "models/model/rotary_sections.h"

#include <algorithm>

namespace models {

int64_t RotarySections::position_of(int64_t pair) const {
  if (interleaved) {
    const auto place = static_cast<size_t>(pair % 3);
    return place > 0 && pair / 3 < pairs[place] ? pair % 3 : 0;
  }
  if (pair < pairs[0]) return 0;
  return pair - pairs[0] < pairs[1] ? 1 : 2;
}

bool RotarySections::fits(int64_t count) const {
  if (interleaved) return true;
  for (const int64_t section : pairs) {
    if (section > count) return false;
    count -= section;
  }
  return count == 0;
}

std::optional<RotarySections> rotary_sections(const std::vector<int64_t>& pairs, bool interleaved) {
  const bool negative = std::any_of(pairs.begin(), pairs.end(), [](int64_t n) { return n < 0; });
  if (pairs.size() != 3 || negative) return std::nullopt;
  return RotarySections{{pairs[0], pairs[1], pairs[2]}, interleaved};
}

}  // namespace models
