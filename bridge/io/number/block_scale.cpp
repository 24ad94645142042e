// Scales of blocks: their bits in files, and new ones for requantized blocks (see block_codec.h).
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "bridge/io/base/error.h"
#include "bridge/io/number/block_codec.h"
#include "bridge/io/number/codec.h"
#include "bridge/io/number/int4.h"
#include "bridge/io/number/small_float.h"

namespace bridge {
namespace {

constexpr uint32_t kExponent = 0x7f800000;
// 2^-127, the value of byte 0 of E8M0.
constexpr uint32_t kHalfOfSmallest = 0x00400000;
constexpr float kSmallestAmaxFp8 = 1e-4f;
constexpr float kSmallestAmaxFp4 = 6 * 0x1p-126f;

[[noreturn]] void no_scale(Dtype dtype) {
  internal_error(fmt::format("{} is no type of scales", safetensors_name(dtype)));
}

uint32_t bits_of_e8m0(uint8_t byte) {
  if (byte == 0) return kHalfOfSmallest;
  return byte == 255 ? kCanonicalNan : static_cast<uint32_t>(byte) << 23;
}

// The same byte of a U8, of which 255 is the exponent of infinity.
uint32_t bits_of_exponent(uint8_t byte) {
  return byte == 0 ? kHalfOfSmallest : static_cast<uint32_t>(byte) << 23;
}

float round_to_bf16(float x) {
  uint16_t narrow = 0;
  float result = 0;
  int64_t overflowed = 0;
  cast_floats(Dtype::kF32, std::as_bytes(std::span(&x, 1)), Dtype::kBF16,
              std::as_writable_bytes(std::span(&narrow, 1)), overflowed);
  cast_floats(Dtype::kBF16, std::as_bytes(std::span(&narrow, 1)), Dtype::kF32,
              std::as_writable_bytes(std::span(&result, 1)), overflowed);
  return result;
}

// x is not negative. Keeps its exponent, raised by one if the mantissa is not zero.
float round_up_to_power_of_two(float x) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(x) + ~(kExponent | 0x80000000)) & kExponent);
}

// The difference between 1 and the next number of the type.
float machine_epsilon(Dtype dtype) {
  return dtype == Dtype::kBF16 ? 0x1p-7F : 0x1p-23F;
}

// compressed-tensors divides by half of the 15 steps between -8 and 7 and clips the largest value;
// what Kimi-K2-Thinking was trained with divides by 7 and never uses -8.
float new_int4_scale(Dtype scale_dtype, float amax) {
  const float exact = amax / Int4::kLargestValue;
  const float scale = scale_dtype == Dtype::kBF16 ? round_to_bf16(exact) : exact;
  return scale == 0 ? machine_epsilon(scale_dtype) : scale;
}

}  // namespace

float load_scale(Dtype dtype, const std::byte* at) {
  uint32_t bits = 0;
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(&bits, at, 4);
      return std::bit_cast<float>(bits);
    case Dtype::kBF16:
      std::memcpy(&bits, at, 2);
      return std::bit_cast<float>(bits << 16);
    case Dtype::kF8E8M0:
      return std::bit_cast<float>(bits_of_e8m0(static_cast<uint8_t>(*at)));
    case Dtype::kU8:
      return std::bit_cast<float>(bits_of_exponent(static_cast<uint8_t>(*at)));
    default:
      no_scale(dtype);
  }
}

void store_scale(Dtype dtype, float scale, std::byte* at) {
  const auto bits = std::bit_cast<uint32_t>(scale);
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(at, &bits, 4);
      return;
    case Dtype::kBF16: {
      if ((bits & 0xffff) != 0) break;
      const uint32_t upper = bits >> 16;
      std::memcpy(at, &upper, 2);
      return;
    }
    case Dtype::kF8E8M0: {
      const auto byte = static_cast<uint8_t>(std::isnan(scale) ? 255 : bits >> 23);
      if (bits_of_e8m0(byte) != bits) break;
      *at = std::byte{byte};
      return;
    }
    case Dtype::kU8: {
      const auto byte = static_cast<uint8_t>(bits >> 23);
      if (bits_of_exponent(byte) != bits) break;
      *at = std::byte{byte};
      return;
    }
    default:
      no_scale(dtype);
  }
  internal_error(fmt::format("scale {:a} is not a value of {}", scale, safetensors_name(dtype)));
}

float new_scale(Dtype format, Dtype scale_dtype, float amax) {
  if (!std::isfinite(amax))
    internal_error(fmt::format("scale for a largest magnitude of {}", amax));
  if (format == Dtype::kF4E2M1 && scale_dtype == Dtype::kF8E8M0) {
    return round_up_to_power_of_two(std::max(amax, kSmallestAmaxFp4) / E2m1::kLargestValue);
  }
  if (format == Dtype::kF4E2M1 && scale_dtype == Dtype::kU8) {
    const float scale = round_up_to_power_of_two(amax / E2m1::kLargestValue);
    return scale == 0 ? std::bit_cast<float>(kHalfOfSmallest) : scale;
  }
  if (format == Dtype::kI4 && (scale_dtype == Dtype::kBF16 || scale_dtype == Dtype::kF32)) {
    return new_int4_scale(scale_dtype, amax);
  }
  if (format != Dtype::kF8E4M3) {
    internal_error(
        fmt::format("{} scale for {}", safetensors_name(scale_dtype), safetensors_name(format)));
  }
  const float exact = std::max(amax, kSmallestAmaxFp8) / E4m3::kLargestValue;
  switch (scale_dtype) {
    case Dtype::kF32:
      return exact;
    case Dtype::kBF16:
      return round_to_bf16(exact);
    case Dtype::kF8E8M0:
      return round_up_to_power_of_two(exact);
    default:
      no_scale(scale_dtype);
  }
}

}  // namespace bridge
