// NaN, Infinity and -Infinity, which Python's json module writes and reads though JSON has no such numbers. Before the text
// goes to a JSON parser, each becomes a number of the same length; where it ended tells the value afterwards.
// Truth: json/encoder.py and json/decoder.py of Python (allow_nan).
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bridge {

struct NonFiniteNumbers {
  std::string text;  // the whole text, replaced; empty: there are none
  std::vector<std::pair<size_t, double>>
      found;  // where each ends in the text, ascending, and its value

  // nullptr: a number of its own ends there.
  const double* ending_at(size_t end) const;
};

NonFiniteNumbers replace_non_finite(std::string_view json);

// As json.dump(2) writes it, but that such numbers become what Python writes, not null.
std::string dump_with_non_finite(const nlohmann::ordered_json& json);

}  // namespace bridge
