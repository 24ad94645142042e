// What the memory budget counts for things on the heap (memory_budget.h). The figures are those of glibc's malloc and of
// libstdc++'s containers, rounded up; a vector that grows by doubling is counted twice where it is large.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bridge {

// A block of its own, as of a string or vector: what was asked for, and what the allocator adds.
constexpr int64_t heap_cost(size_t bytes) {
  constexpr int64_t kAllocator = 16;
  return static_cast<int64_t>(bytes) + kAllocator;
}

// An entry of a map or set beside what its value holds on the heap: the value and the node's links.
template <typename Value>
constexpr int64_t tree_cost() {
  constexpr size_t kLinks = 32;
  return heap_cost(sizeof(Value) + kLinks);
}

// An entry of a hash table beside what it holds on the heap, with its share of the buckets.
constexpr int64_t kHashEntryCost = 64;

}  // namespace bridge
