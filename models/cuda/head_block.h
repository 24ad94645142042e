// What models/compare needs of the logits of two heads, gathered row by row in one reading of both,
// one block of the vocabulary after the other. A row's statistics have a fixed size, so the logits
// never leave the device. They are what models/compare/head_statistics.h and bits.h define.
//
//   1. Thread t of a row takes the columns t, t + kThreads, ... of the block.
//   2. The threads' statistics are merged in a fixed tree, and the result into that of the blocks
//      before.
//   3. Sums of powers are kept relative to the largest value so far and rescaled when a larger one
//      comes.
#pragma once

#include <cstdint>

#include "models/cuda/comparison.h"
#include "models/cuda/exponential.h"
#include "models/cuda/host_device.h"

namespace models::cuda {

constexpr double kLowest = -0x1.fffffffffffffp1023;

// Sums of e^(x - largest), plain and times a weight.
struct PowerSum {
  double largest;
  double sum;
  double weighted;

  static CAUSEWAY_HOST_DEVICE PowerSum none() { return {kLowest, 0, 0}; }

  CAUSEWAY_HOST_DEVICE void add(double x, double weight) {
    // Differences from the largest stay finite if all is -inf.
    const double now = x < kLowest ? kLowest : x;
    const double power = exponential(x - raise_to(now));
    sum += power;
    // A token without probability adds nothing, even if its weight is infinite.
    if (power != 0) weighted += power * weight;
  }

  CAUSEWAY_HOST_DEVICE void merge(PowerSum other) {
    other.raise_to(raise_to(other.largest));
    sum += other.sum;
    weighted += other.weighted;
  }

 private:
  // Makes the sums relative to x if it is larger or NaN; returns what they are relative to.
  CAUSEWAY_HOST_DEVICE double raise_to(double x) {
    if (!(x > largest) && !is_nan(x)) return largest;
    const double scale = exponential(largest - x);
    sum *= scale;
    weighted = scale == 0 ? 0 : weighted * scale;
    largest = x;
    return x;
  }
};

// The five best tokens, best first: the larger value, NaN above all; of equal ones the lower token.
struct BestFive {
  static constexpr int kCount = 5;

  float values[kCount];
  int32_t tokens[kCount];  // -1: there are not that many

  static CAUSEWAY_HOST_DEVICE BestFive none() { return {{0, 0, 0, 0, 0}, {-1, -1, -1, -1, -1}}; }

  CAUSEWAY_HOST_DEVICE void add(float value, int32_t token) {
    if (!is_better(value, token, kCount - 1)) return;
    int place = kCount - 1;
    for (; place > 0 && is_better(value, token, place - 1); --place) {
      values[place] = values[place - 1];
      tokens[place] = tokens[place - 1];
    }
    values[place] = value;
    tokens[place] = token;
  }

  CAUSEWAY_HOST_DEVICE void merge(const BestFive& other) {
    for (int i = 0; i < kCount && other.tokens[i] >= 0; ++i) add(other.values[i], other.tokens[i]);
  }

 private:
  CAUSEWAY_HOST_DEVICE bool is_better(float value, int32_t token, int place) const {
    if (tokens[place] < 0) return true;
    const float other = values[place];
    if (is_nan(value) != is_nan(other)) return is_nan(value);
    if (value != other && !is_nan(value)) return value > other;
    return token < tokens[place];
  }
};

struct HeadRow {
  PowerSum a;  // weighted by the differences a - b
  PowerSum b;  // its weights are 0
  BestFive best_a;
  BestFive best_b;
  Difference difference;
  double distance;  // the sum of |a - b| in F32
  double sum;       // of a
  double squares;   // of a

  static CAUSEWAY_HOST_DEVICE HeadRow none() {
    return {PowerSum::none(),
            PowerSum::none(),
            BestFive::none(),
            BestFive::none(),
            Difference::none(),
            0,
            0,
            0};
  }

  CAUSEWAY_HOST_DEVICE void add(float x, float y, int32_t token) {
    const bool same = bits_as<uint32_t>(x) == bits_as<uint32_t>(y);
    const double wide = x;
    a.add(wide, same ? 0 : wide - static_cast<double>(y));
    b.add(y, 0);
    best_a.add(x, token);
    best_b.add(y, token);
    sum += wide;
    squares += wide * wide;
    if (same) return;
    const Difference here = difference_of(x, y);
    difference.merge(here);
    distance += here.largest;
  }

  CAUSEWAY_HOST_DEVICE void merge(const HeadRow& other) {
    a.merge(other.a);
    b.merge(other.b);
    best_a.merge(other.best_a);
    best_b.merge(other.best_b);
    difference.merge(other.difference);
    distance += other.distance;
    sum += other.sum;
    squares += other.squares;
  }
};

// A reduce job: a block of threads a row.
struct HeadBlock {
  using State = HeadRow;

  const float* a;  // [rows, columns], as b
  const float* b;
  int64_t rows;
  int32_t columns;
  int32_t first;   // the token of column 0; 0: nothing has been gathered before
  HeadRow* found;  // [rows]

  CAUSEWAY_HOST_DEVICE int64_t blocks() const { return rows; }

  CAUSEWAY_HOST_DEVICE State thread(int64_t block, int thread) const {
    State state = State::none();
    for (int32_t column = thread; column < columns; column += kThreads) {
      const int64_t at = block * columns + column;
      state.add(a[at], b[at], first + column);
    }
    return state;
  }

  CAUSEWAY_HOST_DEVICE void finish(int64_t block, const State& state) const {
    if (first == 0) {
      found[block] = state;
    } else {
      found[block].merge(state);
    }
  }
};

}  // namespace models::cuda
