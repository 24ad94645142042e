#include "models/forward/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "bridge/io/base/error.h"

namespace models {
namespace {

at::Tensor llama3_frequencies(const RotaryConfig& rotary, const at::Tensor& plain) {
  const double original = static_cast<double>(rotary.original_positions);
  const at::Tensor wavelength = 2 * std::numbers::pi / plain;
  const at::Tensor is_long = wavelength > original / rotary.low_freq_factor;
  const at::Tensor is_short = wavelength < original / rotary.high_freq_factor;
  const at::Tensor slowed = at::where(is_long, plain / rotary.factor, plain);
  const at::Tensor blend = (original / wavelength - rotary.low_freq_factor) /
                           (rotary.high_freq_factor - rotary.low_freq_factor);
  const at::Tensor between = (1 - blend) * slowed / rotary.factor + blend * slowed;
  return at::where(is_long.logical_or(is_short), slowed, between);
}

// The channel pair, as a fractional number, that makes `turns` turns in the original positions.
double pair_of_turns(const RotaryConfig& rotary, double turns) {
  const double original = static_cast<double>(rotary.original_positions);
  return static_cast<double>(rotary.channels) *
         std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(rotary.base));
}

at::Tensor yarn_frequencies(const RotaryConfig& rotary, const at::Tensor& powers) {
  double first = pair_of_turns(rotary, rotary.beta_fast);
  double last = pair_of_turns(rotary, rotary.beta_slow);
  if (rotary.round_range) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::max(first, 0.0);
  last = std::min(last, static_cast<double>(rotary.channels - 1));
  if (first == last) last += 0.001;  // avoids a division by zero
  const at::Tensor ramp =
      ((at::arange(rotary.channels / 2, at::kFloat) - first) / (last - first)).clamp(0, 1);
  const at::Tensor keep = 1 - ramp;
  return 1.0 / (rotary.factor * powers) * (1 - keep) + 1.0 / powers * keep;
}

}  // namespace

at::Tensor rotary_frequencies(const RotaryConfig& rotary) {
  const at::Tensor exponents =
      at::arange(0, rotary.channels, 2, at::kFloat) / static_cast<double>(rotary.channels);
  const at::Tensor powers = at::pow(rotary.base, exponents);
  switch (rotary.scaling) {
    case RotaryScaling::kNone:
      return 1.0 / powers;
    case RotaryScaling::kLinear:
      return 1.0 / powers / rotary.factor;
    case RotaryScaling::kLlama3:
      return llama3_frequencies(rotary, 1.0 / powers);
    case RotaryScaling::kYarn:
      return yarn_frequencies(rotary, powers);
  }
  return {};
}

RotaryTable rotary_table(const RotaryConfig& rotary, int64_t count,
                         const at::TensorOptions& options) {
  return rotary_table_at(rotary, at::arange(count, at::kFloat), options);
}

RotaryTable rotary_table_at(const RotaryConfig& rotary, const at::Tensor& positions,
                            const at::TensorOptions& options) {
  const at::Tensor places = positions.to(at::kFloat);
  const at::Tensor frequencies = rotary_frequencies(rotary);
  const at::Tensor angles = places.dim() == 1 ? places.outer(frequencies) : places * frequencies;
  return {(angles.cos() * rotary.magnitude).to(options),
          (angles.sin() * rotary.magnitude).to(options)};
}

at::Tensor positions_of_pairs(const at::Tensor& positions, const RotarySections& sections,
                              int64_t pairs) {
  if (!sections.fits(pairs)) {
    bridge::bad_input(fmt::format("mrope_section: {} + {} + {} pairs of channels, a head turns {}",
                                  sections.pairs[0], sections.pairs[1], sections.pairs[2], pairs));
  }
  at::Tensor rows = at::empty({pairs}, at::kLong);
  int64_t* row = rows.mutable_data_ptr<int64_t>();
  for (int64_t pair = 0; pair < pairs; ++pair) row[pair] = sections.position_of(pair);
  return positions.index_select(0, rows).t();
}

at::Tensor rotate(const at::Tensor& x, const RotaryConfig& rotary, const RotaryTable& table) {
  const int64_t head = x.size(-1);
  const at::Tensor turned = x.narrow(-1, 0, rotary.channels);
  const int64_t half = rotary.channels / 2;
  at::Tensor out;
  if (rotary.layout == RotaryLayout::kHalves) {
    const at::Tensor a = turned.narrow(-1, 0, half);
    const at::Tensor b = turned.narrow(-1, half, half);
    out = at::cat({a * table.cos - b * table.sin, b * table.cos + a * table.sin}, -1);
  } else {
    const at::Tensor pairs = turned.unflatten(-1, {half, 2});
    const at::Tensor a = pairs.select(-1, 0);
    const at::Tensor b = pairs.select(-1, 1);
    out = at::stack({a * table.cos - b * table.sin, b * table.cos + a * table.sin}, -1).flatten(-2);
  }
  if (rotary.channels == head) return out;
  return at::cat({out, x.narrow(-1, rotary.channels, head - rotary.channels)}, -1);
}

}  // namespace models
