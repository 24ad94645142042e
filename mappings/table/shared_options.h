// Options that a row group, or the use of a fragment, gives to each of its rows, drops and modules.
// Internal to mappings.
//
//   1. an element's own option takes precedence over the shared one
//   2. "when" is the exception: both conditions must hold
//   3. "family" applies only to elements that use a prefix of families, {L} or {H}
//
// The format is in docs/mapping-tables.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mappings/expr/expr.h"

namespace mappings {

// Index of the options in an element of this section: 3 for "rows", 2 for "drop", 1 for
// "extra_state"; nullopt if elements of the section have no options.
std::optional<size_t> options_index(const std::string& section);

class SharedOptions {
 public:
  explicit SharedOptions(Json options);

  bool empty() const { return options_.empty(); }
  int64_t text_size() const { return text_size_; }

  // Adds the options to the element. A malformed element stays as it is, and its reader refuses it.
  void add_to(Json& element, size_t index) const;

 private:
  Json options_;
  int64_t text_size_ = 0;
};

}  // namespace mappings
