// Numbers of FP8 training, emulated: a value is rounded to eight bits under a scale and read back,
// and products are computed in fp32. What TransformerEngine's kernels add up in another order or
// type is not imitated.
//
//   formats    e4m3 up to 448 for inputs and weights; e5m2 up to 57344 for gradients, which by
//              blocks are e4m3 too
//   rounding   cast(clamp(x * scale, -max, max)) / scale, to the nearest, ties to even
//   scale      max / amax / 2^margin with amax the largest |x|. An amax of 0, infinity or NaN gives
//              none; a scale that is infinite becomes the largest finite number
//   recipe     delayed   of the amax of earlier steps, a history and a scale for each tensor
//              current   of the tensor itself
//              block     of 1 x 128 elements of inputs and gradients, along the axis that a product
//                        adds up, and of 128 x 128 of weights; cut down to a power of two
// Truth: TransformerEngine common/recipe/__init__.py, pytorch/fp8.py
// (_default_sf_compute, _compute_amax_and_update_history), common/recipe/recipe_common.cuh
// (compute_scale_from_amax).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace models {

enum class Fp8Format { kE4M3, kE5M2 };
enum class Fp8Recipe { kDelayed, kCurrent, kBlock };

// Of delayed scaling; the defaults are Megatron-Core's (fp8_amax_history_len,
// fp8_amax_compute_algo, fp8_margin).
struct Fp8Delay {
  size_t history = 1;
  bool largest = false;  // of the history, instead of the most recent amax
  int margin = 0;
};

// "delayed", "current" or "block"; nullopt for "none".
std::optional<Fp8Recipe> parse_fp8(std::string_view name);

// The scale for an amax; nullopt where it gives none.
std::optional<float> fp8_scale(float amax, Fp8Format format, int margin);

// x: fp32. Gives its values after rounding under one scale.
at::Tensor rounded_to_fp8(const at::Tensor& x, Fp8Format format, float scale);
// Under the scale of x itself, 1 where it has none.
at::Tensor rounded_to_fp8(const at::Tensor& x, Fp8Format format);
// In e4m3, with a scale for each block of rows x columns; blocks at the ends may be smaller. x:
// [rows, columns] fp32.
at::Tensor rounded_to_fp8_by_block(const at::Tensor& x, int64_t rows, int64_t columns);

// Delayed scaling of one tensor: a history of amax, whose place 0 is that of the present step, and
// the scale that it gives. Both begin with nothing known: zeros and 1.
class DelayedScale {
 public:
  explicit DelayedScale(const Fp8Delay& delay) : history_(delay.history, 0.0F) {}

  // Rounds by the present scale and records the amax of x.
  at::Tensor rounded(const at::Tensor& x, Fp8Format format);
  // The end of a step: a scale of the history, which then moves on by one place.
  void update(const Fp8Delay& delay, Fp8Format format);

  float scale() const { return scale_; }
  const std::vector<float>& history() const { return history_; }

 private:
  std::vector<float> history_;
  float scale_ = 1;
};

}  // namespace models
