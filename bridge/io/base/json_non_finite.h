// NaN, Infinity and -Infinity, which Python's json module writes and reads although JSON has no
// such numbers. Each is replaced by a number of the same length before the text goes to a JSON
// parser; the position where that number ends gives the value back afterwards.
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
  // The whole text after replacement; empty if there is nothing to replace.
  std::string text;
  // The end of each replaced word in the text, ascending, and its value.
  std::vector<std::pair<size_t, double>> found;

  // The value of the replaced word that ends at `end`; nullptr for an ordinary number.
  const double* ending_at(size_t end) const;
};

NonFiniteNumbers replace_non_finite(std::string_view json);

// Like json.dump(2), but writes non-finite numbers as Python does instead of as null.
std::string dump_with_non_finite(const nlohmann::ordered_json& json);

}  // namespace bridge
