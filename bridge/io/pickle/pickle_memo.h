// The memo of a pickle, holding only values that will be read back.
//
//   1. The constructor goes over all opcodes (first pass) and counts the reads of each slot.
//   2. In the second pass a value is stored if its slot has reads to come, and released after the
//      last.
//
// Slots are numbered as CPython's pickler does, 0, 1, 2...; other numbers are refused, so a slot's
// number is never larger than the pickle, and the first pass finds a read of a slot that is not set
// yet.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/pickle/pickle.h"

namespace bridge {

// A push_back that reserves the vector's storage from the budget before it grows.
template <typename T>
void push_reserved(std::vector<T>& vector, T value, Reservation& reservation) {
  if (vector.size() == vector.capacity()) {
    const size_t wanted = vector.capacity() == 0 ? 64 : 2 * vector.capacity();
    reservation.grow(static_cast<int64_t>((wanted - vector.capacity()) * sizeof(T)));
    vector.reserve(wanted);
  }
  vector.push_back(std::move(value));
}

class PickleMemo {
 public:
  // Reads the whole pickle.
  PickleMemo(const File& file, int64_t offset, int64_t length, MemoryBudget& budget);
  void put(const PickleValue& value);
  PickleValue get(uint64_t slot);

 private:
  Reservation memory_;
  std::vector<uint8_t> reads_;  // reads to come by slot, up to kManyReads
  std::unordered_map<uint64_t, PickleValue> values_;
  uint64_t size_ = 0;
};

}  // namespace bridge
