// A growing share of a MemoryBudget that is given back when it goes out of scope, also on an
// exception, unless keep() was called.
#pragma once

#include <cstdint>
#include <string_view>

#include "bridge/io/base/memory_budget.h"

namespace bridge {

class Reservation {
 public:
  // If budget is null, nothing is counted.
  Reservation(MemoryBudget* budget, std::string_view what) : budget_(budget), what_(what) {}
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() { release(); }

  // Reserves; throws as MemoryBudget does.
  void grow(int64_t bytes) {
    if (budget_ == nullptr) return;
    bytes_ += bytes;  // before reserve: that counts the bytes even when it throws
    budget_->reserve(bytes, what_);
  }
  // Gives back all but this many bytes of what was reserved.
  void shrink_to(int64_t bytes) {
    if (budget_ == nullptr || bytes >= bytes_) return;
    budget_->release(bytes_ - bytes);
    bytes_ = bytes;
  }
  void release() { shrink_to(0); }
  // Leaves the bytes reserved, because the memory outlives this object. Its new owner may release
  // them.
  void keep() { bytes_ = 0; }

  int64_t bytes() const { return bytes_; }

 private:
  MemoryBudget* budget_;
  std::string_view what_;
  int64_t bytes_ = 0;
};

}  // namespace bridge
