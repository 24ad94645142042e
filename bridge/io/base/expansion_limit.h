// Limits the size of a configuration copied out of a format with shared parts (YAML's aliases,
// pickle's memo). A shared part counts each time it occurs, so that a small file cannot expand
// without end.
#pragma once

#include <cstddef>

#include "bridge/io/base/error.h"

namespace bridge {

class ExpansionLimit {
 public:
  // Counts one value and the bytes of its text. Error: kBadInput.
  void add(size_t text_bytes = 0) {
    bytes_ += text_bytes;
    if (++values_ > kMostValues || bytes_ > kMostBytes) bad_input("too many values");
  }

 private:
  static constexpr size_t kMostValues = 1 << 18;  // known configurations have a few thousand
  static constexpr size_t kMostBytes = 16 << 20;

  size_t values_ = 0;
  size_t bytes_ = 0;
};

}  // namespace bridge
