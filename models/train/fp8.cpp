#include "models/train/fp8.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace models {
namespace {

float largest_of(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? 448.0F : 57344.0F;
}

at::ScalarType type_of(Fp8Format format) {
  return format == Fp8Format::kE4M3 ? at::kFloat8_e4m3fn : at::kFloat8_e5m2;
}

float amax_of(const at::Tensor& x) {
  return x.numel() == 0 ? 0.0F : x.abs().max().item<float>();
}

at::Tensor rounded(const at::Tensor& x, Fp8Format format, const at::Tensor& scale) {
  const double most = largest_of(format);
  return (x * scale).clamp(-most, most).to(type_of(format)).to(at::kFloat) / scale;
}

// Without the bits of the mantissa.
float power_of_two(float scale) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scale) & 0xff800000U);
}

}  // namespace

std::optional<Fp8Recipe> parse_fp8(std::string_view name) {
  if (name == "delayed") return Fp8Recipe::kDelayed;
  if (name == "current") return Fp8Recipe::kCurrent;
  if (name == "block") return Fp8Recipe::kBlock;
  return std::nullopt;
}

std::optional<float> fp8_scale(float amax, Fp8Format format, int margin) {
  if (!(amax > 0) || std::isinf(amax)) return std::nullopt;
  const float scale = std::ldexp(largest_of(format) / amax, -margin);
  return std::isinf(scale) ? std::numeric_limits<float>::max() : scale;
}

at::Tensor rounded_to_fp8(const at::Tensor& x, Fp8Format format, float scale) {
  return rounded(x, format, at::tensor(scale));
}

at::Tensor rounded_to_fp8(const at::Tensor& x, Fp8Format format) {
  return rounded_to_fp8(x, format, fp8_scale(amax_of(x), format, 0).value_or(1));
}

at::Tensor rounded_to_fp8_by_block(const at::Tensor& x, int64_t rows, int64_t columns) {
  if (x.numel() == 0) return x;
  const auto missing = [](int64_t size, int64_t step) { return (step - size % step) % step; };
  const at::Tensor whole =
      at::constant_pad_nd(x, {0, missing(x.size(1), columns), 0, missing(x.size(0), rows)});
  const at::Tensor blocks = whole.unflatten(1, {-1, columns}).unflatten(0, {-1, rows});
  at::Tensor scales = blocks.abs().amax({1, 3}, /*keepdim=*/true).contiguous();
  float* scale = scales.mutable_data_ptr<float>();
  for (int64_t i = 0; i < scales.numel(); ++i) {
    scale[i] = power_of_two(fp8_scale(scale[i], Fp8Format::kE4M3, 0).value_or(1));
  }
  return rounded(blocks, Fp8Format::kE4M3, scales)
      .flatten(2, 3)
      .flatten(0, 1)
      .narrow(0, 0, x.size(0))
      .narrow(1, 0, x.size(1))
      .contiguous();
}

at::Tensor DelayedScale::rounded(const at::Tensor& x, Fp8Format format) {
  history_.front() = std::max(history_.front(), amax_of(x));
  return rounded_to_fp8(x, format, scale_);
}

void DelayedScale::update(const Fp8Delay& delay, Fp8Format format) {
  const float amax =
      delay.largest ? *std::max_element(history_.begin(), history_.end()) : history_.front();
  scale_ = fp8_scale(amax, format, delay.margin).value_or(scale_);
  std::rotate(history_.begin(), history_.begin() + 1, history_.end());
  history_.front() = 0;
}

}  // namespace models
