// Counts what casts do to the floating values of an export, and stops at the first tensor that a narrowing cast changes,
// unless the user asked for the dtype.
//
//   1. widening (BF16 or F16 to F32)       counted
//   2. narrowing (F32 to BF16 or F16, BF16 to F16, F16 to BF16)   every value is cast back; one that does not return
//      has changed. What a witness replaced is the source's own and returns by definition
// Dequantizing and quantizing again are no casts. NaNs stay NaNs, whatever their payload.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "bridge/convert/stream/executor.h"

namespace bridge {

struct CastCount {
  int64_t tensors = 0;
  int64_t values = 0;
  int64_t changed = 0;
};

class CastCheck {
 public:
  // allow: changed values are counted and no error. name_of: of a target, for messages.
  CastCheck(bool allow, std::function<std::string(int32_t)> name_of)
      : allow_(allow), name_of_(std::move(name_of)) {}

  // For ExecutorHooks::on_slice of an export, after witnesses. Thread-safe. kBadInput when the last slice of a tensor
  // with changed values is seen.
  void see(const SliceView& slice);

  // By (from, to). After the run.
  const std::map<std::pair<Dtype, Dtype>, CastCount>& counts() const { return counts_; }

 private:
  struct Progress {
    int64_t seen = 0;
    int64_t changed = 0;
  };

  bool allow_;
  std::function<std::string(int32_t)> name_of_;
  std::mutex mutex_;
  std::map<int32_t, Progress> targets_;  // those that are not seen to the end
  std::map<std::pair<Dtype, Dtype>, CastCount> counts_;
};

// How to go on where values are too large for the dtype they are cast to: never by that dtype.
std::string overflow_hint(const Transfer& transfer);

}  // namespace bridge
