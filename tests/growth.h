// How work grows with its input, in time of the processor. A bound in seconds says more about the machine and the
// build (a sanitized one is twenty times slower) than about the code; a ratio finds what is quadratic on all of them.
#pragma once

#include <algorithm>
#include <ctime>

// Time of this process that `run(10 * size)` takes, in units of what `run(size)` takes: about 10 where work is linear,
// 100 where it is quadratic. Choose `size` so that a call takes a few milliseconds.
template <typename Run>
double growth_over_ten(int size, const Run& run) {
  const auto spent = [&](int of) {
    const std::clock_t start = std::clock();
    run(of);
    return static_cast<double>(std::clock() - start);
  };
  // The least of two: a neighbour of this machine's caches slows one of them, seldom both.
  const double small = std::min(spent(size), spent(size));
  const double large = std::min(spent(10 * size), spent(10 * size));
  constexpr double kClockStep = CLOCKS_PER_SEC / 1000.0;
  return large / std::max(small, kClockStep);
}

// Between linear and quadratic, with room for caches that the larger input no longer fits.
constexpr double kLinearGrowth = 40;
