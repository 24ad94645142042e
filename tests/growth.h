// Measures how work grows with its input, in processor time. A bound in seconds says more about the
// machine and the build (a sanitized one is twenty times slower) than about the code; a ratio
// detects quadratic work on all of them.
#pragma once

#include <algorithm>
#include <ctime>

// Returns the processor time of `run(10 * size)`, divided by that of `run(size)`: about 10 for
// linear work, 100 for quadratic work. Choose `size` so that a call takes a few milliseconds.
template <typename Run>
double growth_over_ten(int size, const Run& run) {
  const auto spent = [&](int of) {
    const std::clock_t start = std::clock();
    run(of);
    return static_cast<double>(std::clock() - start);
  };
  // The smaller of two measurements: a process that shares this machine's caches slows one of them,
  // but seldom both.
  const double small = std::min(spent(size), spent(size));
  const double large = std::min(spent(10 * size), spent(10 * size));
  constexpr double kClockStep = CLOCKS_PER_SEC / 1000.0;
  return large / std::max(small, kClockStep);
}

// Lies between linear and quadratic, with room for caches that the larger input no longer fits.
constexpr double kLinearGrowth = 40;
