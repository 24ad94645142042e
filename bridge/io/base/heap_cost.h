// What the memory budget (memory_budget.h) counts for objects on the heap. The figures are those of
// glibc's malloc and libstdc++'s containers, rounded up; a vector that grows by doubling counts
// twice where it is large.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bridge {

// A separate block, such as that of a string or vector: the bytes requested and the allocator's
// overhead.
constexpr int64_t heap_cost(size_t bytes) {
  constexpr int64_t kAllocator = 16;
  return static_cast<int64_t>(bytes) + kAllocator;
}

// An entry of a map or set: the value and the node's links, without what the value holds on the
// heap.
template <typename Value>
constexpr int64_t tree_cost() {
  constexpr size_t kLinks = 32;
  return heap_cost(sizeof(Value) + kLinks);
}

// An entry of a hash table with its share of the buckets, without what it holds on the heap.
constexpr int64_t kHashEntryCost = 64;

}  // namespace bridge
