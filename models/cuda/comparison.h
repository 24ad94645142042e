// Two buffers of one type, element by element: how many differ in their bits, and by how much at
// most. Two stages: each block of threads reduces its share, and one block reduces what they found.
#pragma once

#include <cstdint>

#include "models/cuda/host_device.h"

namespace models::cuda {

enum class ElementFormat : int32_t { kByte, kF16, kBF16, kF32 };

struct Difference {
  int64_t different;
  float largest;  // |a - b| in F32 where bits differ; NaN if one of these is NaN

  static CAUSEWAY_HOST_DEVICE Difference none() { return {0, 0}; }

  CAUSEWAY_HOST_DEVICE void merge(const Difference& other) {
    different += other.different;
    if (other.largest > largest || is_nan(other.largest)) largest = other.largest;
  }
};

CAUSEWAY_HOST_DEVICE inline float magnitude(float x) {
  return bits_as<float>(bits_as<uint32_t>(x) & 0x7fffffffU);
}

// The difference of two F32 whose stored bits are not the same.
CAUSEWAY_HOST_DEVICE inline Difference difference_of(float a, float b) {
  return {1, magnitude(a - b)};
}

CAUSEWAY_HOST_DEVICE inline float widened_half(uint16_t half) {
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t shifted = (half & 0x7fffU) << 13;
  if (shifted >= 0x7c00U << 13) return bits_as<float>(sign | shifted | 0x7f800000U);
  // As the bits of an F32 the value is 2^112 too small, subnormals included.
  return bits_as<float>(sign | bits_as<uint32_t>(bits_as<float>(shifted) * 0x1p112f));
}

// A reduce job: the first stage.
struct Comparison {
  using State = Difference;

  const void* a;  // [count], aligned to an element, as b
  const void* b;
  int64_t count;
  ElementFormat format;
  Difference* found;  // [blocks()]

  static constexpr int64_t kMostBlocks = 1024;
  static constexpr int64_t kElementsOfThread = 16;  // at least, if there are more than one block

  CAUSEWAY_HOST_DEVICE int64_t blocks() const {
    const int64_t wanted = (count - 1) / (kThreads * kElementsOfThread) + 1;
    return wanted < kMostBlocks ? wanted : kMostBlocks;
  }

  CAUSEWAY_HOST_DEVICE State thread(int64_t block, int thread) const {
    State state = Difference::none();
    const int64_t step = blocks() * kThreads;
    for (int64_t i = block * kThreads + thread; i < count; i += step) state.merge(at(i));
    return state;
  }

  CAUSEWAY_HOST_DEVICE void finish(int64_t block, const State& state) const {
    found[block] = state;
  }

 private:
  CAUSEWAY_HOST_DEVICE Difference at(int64_t i) const {
    switch (format) {
      case ElementFormat::kByte: {
        const uint8_t x = static_cast<const uint8_t*>(a)[i];
        const uint8_t y = static_cast<const uint8_t*>(b)[i];
        return x == y ? Difference::none() : difference_of(x, y);
      }
      case ElementFormat::kF16: {
        const uint16_t x = static_cast<const uint16_t*>(a)[i];
        const uint16_t y = static_cast<const uint16_t*>(b)[i];
        return x == y ? Difference::none() : difference_of(widened_half(x), widened_half(y));
      }
      case ElementFormat::kBF16: {
        const uint32_t x = static_cast<const uint16_t*>(a)[i];
        const uint32_t y = static_cast<const uint16_t*>(b)[i];
        return x == y ? Difference::none()
                      : difference_of(bits_as<float>(x << 16), bits_as<float>(y << 16));
      }
      case ElementFormat::kF32:
        break;
    }
    const uint32_t x = static_cast<const uint32_t*>(a)[i];
    const uint32_t y = static_cast<const uint32_t*>(b)[i];
    return x == y ? Difference::none() : difference_of(bits_as<float>(x), bits_as<float>(y));
  }
};

// A reduce job of one block: the second stage.
struct DifferenceTotal {
  using State = Difference;

  const Difference* found;  // [count]
  int64_t count;
  Difference* total;

  CAUSEWAY_HOST_DEVICE int64_t blocks() const { return 1; }

  CAUSEWAY_HOST_DEVICE State thread(int64_t /*block*/, int thread) const {
    State state = Difference::none();
    for (int64_t i = thread; i < count; i += kThreads) state.merge(found[i]);
    return state;
  }

  CAUSEWAY_HOST_DEVICE void finish(int64_t /*block*/, const State& state) const { *total = state; }
};

}  // namespace models::cuda
