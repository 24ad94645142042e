// Counts what casts do to the floating values of an export. Stops at the first tensor that a
// narrowing cast changes, unless the user asked for the dtype.
//
//   1. Widening (BF16 or F16 to F32): the values are counted.
//   2. Narrowing (F32 to BF16 or F16, BF16 to F16, F16 to BF16): every value is cast back, and one
//      that does not return has changed. A value that a witness replaced is the source's own and
//      returns by definition.
//
// Dequantizing and quantizing again do not count as casts. A NaN stays a NaN, whatever its payload.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "bridge/convert/stream/executor.h"
#include "bridge/io/base/checked.h"

namespace bridge {

struct CastCount {
  int64_t tensors = 0;
  int64_t values = 0;
  int64_t changed = 0;
};

class CastCheck {
 public:
  // allow: count changed values, but report no error. name_of: names a target in messages.
  CastCheck(bool allow, std::function<std::string(int32_t)> name_of)
      : allow_(allow), name_of_(std::move(name_of)) {}

  // Checks a slice: ExecutorHooks::on_slice of an export calls this after the witnesses.
  // Thread-safe. Errors: kBadInput at the last slice of a tensor with changed values.
  void see(const SliceView& slice);

  // The counts by (from, to). Call it while no slice is checked.
  const std::map<std::pair<Dtype, Dtype>, CastCount>& counts() const { return counts_; }
  // Adds what another run or process counted. Call it while no slice is checked.
  void restore(std::pair<Dtype, Dtype> dtypes, const CastCount& count) {
    CastCount& all = counts_[dtypes];
    all.tensors = checked_add(all.tensors, count.tensors);
    all.values = checked_add(all.values, count.values);
    all.changed = checked_add(all.changed, count.changed);
  }
  void clear() { counts_.clear(); }

 private:
  struct Progress {
    int64_t seen = 0;
    int64_t changed = 0;
  };

  bool allow_;
  std::function<std::string(int32_t)> name_of_;
  std::mutex mutex_;
  std::map<int32_t, Progress> targets_;  // tensors with slices still to come
  std::map<std::pair<Dtype, Dtype>, CastCount> counts_;
};

// Returns how to go on if values are too large for the dtype they are cast to: never by that dtype.
std::string overflow_hint(const Transfer& transfer);

}  // namespace bridge
