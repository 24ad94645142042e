// SplitMix64, a generator whose numbers are the same everywhere. Truth: Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators" (2014); its finalizer is variant 13 of
// Stafford's.
#pragma once

#include <cstdint>

namespace models {

class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

}  // namespace models
