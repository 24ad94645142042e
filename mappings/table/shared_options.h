// Options that a row group, or the use of a fragment, gives to each of its rows, drops and modules.
// Internal to mappings.
//
//   1. an option of the element's own counts instead of the shared one
//   2. "when" of both must hold
//   3. "family" is for elements that use a prefix of families, {L} or {H}
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mappings/expr/expr.h"

namespace mappings {

// Index of the options in an element of this section: 3 for "rows", 2 for "drop", 1 for
// "extra_state"; nullopt: elements of the section have none.
std::optional<size_t> options_index(const std::string& section);

class SharedOptions {
 public:
  explicit SharedOptions(Json options);

  bool empty() const { return options_.empty(); }
  int64_t text_size() const { return text_size_; }

  // The element with the options. One that is no element is left as it is, for its reader to
  // refuse.
  void add_to(Json& element, size_t index) const;

 private:
  Json options_;
  int64_t text_size_ = 0;
};

}  // namespace mappings
