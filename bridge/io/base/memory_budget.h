// The promise of --memory: everything that grows with the model (headers, plan, buffers) is
// reserved from one budget before it is allocated. What is left after planning becomes the
// executor's buffers. A reservation that does not fit is a usage error (exit 2) that names the size
// needed.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace bridge {

class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t limit) : limit_(limit) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Announces how much a large read is likely to take in all, on top of what is used now. Reserves
  // nothing, but a later reservation that fails suggests at least that much. Not thread-safe.
  void expect(int64_t bytes) { expected_ = std::max(expected_, used_ + bytes); }

  // Thread-safe. `what` names the memory in the message: "safetensors headers", "plan", ...
  void reserve(int64_t bytes, std::string_view what);
  void release(int64_t bytes) { used_ -= bytes; }

  int64_t limit() const { return limit_; }
  int64_t used() const { return used_; }
  int64_t left() const { return limit_ - used_; }

 private:
  int64_t limit_;
  std::atomic<int64_t> used_{0};
  int64_t expected_ = 0;
};

// "256MiB" and the like: exact multiples without decimals, other sizes with one.
std::string size_text(int64_t bytes);

}  // namespace bridge
