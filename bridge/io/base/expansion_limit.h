// What a configuration may grow to when it is copied out of a format with shared parts (YAML's aliases, pickle's memo): a
// shared part counts as often as it occurs, so that a small file does not stand for an endless one.
#pragma once

#include <cstddef>

#include "bridge/io/base/error.h"

namespace bridge {

class ExpansionLimit {
 public:
  // A value, with the bytes of its text. Error: kBadInput.
  void add(size_t text_bytes = 0) {
    bytes_ += text_bytes;
    if (++values_ > kMostValues || bytes_ > kMostBytes) bad_input("too many values");
  }

 private:
  static constexpr size_t kMostValues = 1 << 18;  // known ones have some thousands
  static constexpr size_t kMostBytes = 16 << 20;

  size_t values_ = 0;
  size_t bytes_ = 0;
};

}  // namespace bridge
