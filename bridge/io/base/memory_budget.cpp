#include "bridge/io/base/memory_budget.h"

#include <fmt/format.h>

#include <array>

#include "bridge/io/base/error.h"

namespace bridge {

void MemoryBudget::reserve(int64_t bytes, std::string_view what) {
  const int64_t total = used_ += bytes;
  if (total > limit_) {
    // How much more will be needed is not known exactly; half as much again works in practice.
    const int64_t mib = std::max(total + total / 2, expected_) / (1 << 20) + 1;
    usage_error(fmt::format("--memory {} is too small: {} take it to {}", size_text(limit_), what,
                            size_text(total)),
                fmt::format("use --memory {}MiB or more", mib));
  }
}

std::string size_text(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  const bool whole = value == static_cast<double>(static_cast<int64_t>(value));
  return whole ? fmt::format("{:.0f}{}", value, kUnits[unit])
               : fmt::format("{:.1f}{}", value, kUnits[unit]);
}

}  // namespace bridge
