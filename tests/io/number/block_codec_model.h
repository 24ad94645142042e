// A second definition of the block codec for its tests. Values are computed by ldexp from the
// fields of a code; rounding and inversion search among all codes. It handles one element at a
// time.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bridge/io/base/cpu.h"
#include "bridge/io/number/block_codec.h"
#include "bridge/io/number/block_codec_forms.h"
#include "bridge/io/number/codec.h"

namespace bridge {

struct NamedCodec {
  std::string name;
  const BlockCodec* codec;
};

// Returns every codec that this processor runs.
inline std::vector<NamedCodec> every_codec() {
  std::vector<NamedCodec> all = {{"Scalar", &scalar_block_codec()}};
  if (has_avx2()) all.push_back({"Avx2", &avx2_block_codec()});
  return all;
}

inline uint32_t bits(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline float single(uint32_t x) {
  return std::bit_cast<float>(x);
}

// A format, described by its numbers. Codes are ints and values floats, whatever their types in
// files.
struct ModelFormat {
  Dtype format;
  int mantissa_bits;
  int bias;
  int largest;  // code
  int sign;

  int codes() const { return 2 * sign; }
  bool has_nan() const { return format == Dtype::kF8E4M3; }
  bool is_nan(int code) const { return has_nan() && (code & (sign - 1)) > largest; }

  double value(int code) const {
    const int magnitude = code & (sign - 1);
    const int exponent = magnitude >> mantissa_bits;
    const int mantissa = magnitude & ((1 << mantissa_bits) - 1);
    const double absolute = exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                                          : std::ldexp(mantissa + (1 << mantissa_bits),
                                                       exponent - bias - mantissa_bits);
    return (code & sign) != 0 ? -absolute : absolute;
  }

  // Requires x >= 0. Of two codes at the same distance, returns the even one.
  int nearest(double x) const {
    int best = 0;
    for (int code = 1; code <= largest; ++code) {
      const double now = std::fabs(value(code) - x);
      const double before = std::fabs(value(best) - x);
      if (now < before || (now == before && code % 2 == 0)) best = code;
    }
    return x >= value(largest) ? largest : best;
  }

  float dequantize(int code, float scale, Dtype to) const;
  std::optional<int> find_code(float wanted, float scale, Dtype from) const;
  int quantize(float value, float scale) const;
};

inline const ModelFormat kFp8 = {Dtype::kF8E4M3, 3, 7, 0x7e, 0x80};
inline const ModelFormat kFp4 = {Dtype::kF4E2M1, 1, 1, 0x07, 0x08};

inline std::vector<std::byte> narrowed(const std::vector<float>& values, Dtype to) {
  std::vector<std::byte> out(values.size() * static_cast<size_t>(bits_of(to)) / 8);
  int64_t overflowed = 0;
  cast_floats(Dtype::kF32, std::as_bytes(std::span(values)), to, out, overflowed);
  return out;
}

inline std::vector<float> widened(std::span<const std::byte> values, Dtype from) {
  std::vector<float> out(values.size() * 8 / static_cast<size_t>(bits_of(from)));
  int64_t overflowed = 0;
  cast_floats(from, values, Dtype::kF32, std::as_writable_bytes(std::span(out)), overflowed);
  return out;
}

// Returns the value, rounded to type `to`, as a float.
inline float ModelFormat::dequantize(int code, float scale, Dtype to) const {
  const float product = static_cast<float>(value(code)) * scale;
  if (is_nan(code) || std::isnan(product))
    return single((code & sign) != 0 ? 0xffc00000 : 0x7fc00000);
  return widened(narrowed({product}, to), to)[0];
}

inline std::optional<int> ModelFormat::find_code(float wanted, float scale, Dtype from) const {
  if (std::isnan(wanted)) {
    if (!has_nan() || (bits(wanted) & 0x7fffffff) != 0x7fc00000) return std::nullopt;
    return std::signbit(wanted) ? 0xff : 0x7f;
  }
  const int sign_code = std::signbit(wanted) != std::signbit(scale) ? sign : 0;
  const auto gives = [&](int magnitude) {
    return bits(dequantize(magnitude | sign_code, scale, from)) == bits(wanted);
  };
  const float quotient = std::fabs(wanted) / std::fabs(scale);
  const int first = std::isnan(quotient) ? 0 : nearest(static_cast<double>(quotient));
  if (gives(first)) return first | sign_code;
  for (int magnitude = 0; magnitude <= largest; ++magnitude) {
    if (gives(magnitude)) return magnitude | sign_code;
  }
  return std::nullopt;
}

inline int ModelFormat::quantize(float x, float scale) const {
  const int sign_code = std::signbit(x) != std::signbit(scale) ? sign : 0;
  const float quotient = std::fabs(x) / std::fabs(scale);
  if (std::isnan(quotient)) return (has_nan() ? 0x7f : 0) | sign_code;
  return nearest(static_cast<double>(quotient)) | sign_code;
}

// Packs codes as files store them.
inline std::vector<std::byte> packed(const ModelFormat& format, const std::vector<int>& codes) {
  std::vector<std::byte> out;
  if (format.format == Dtype::kF4E2M1) {
    for (size_t i = 0; i + 1 < codes.size(); i += 2) {
      out.push_back(static_cast<std::byte>(codes[i] | codes[i + 1] << 4));
    }
  } else {
    for (const int code : codes) out.push_back(static_cast<std::byte>(code));
  }
  return out;
}

inline std::vector<int> unpacked(const ModelFormat& format, std::span<const std::byte> run) {
  std::vector<int> out;
  for (const std::byte b : run) {
    const int code = static_cast<int>(b);
    if (format.format == Dtype::kF4E2M1) {
      out.push_back(code & 15);
      out.push_back(code >> 4);
    } else {
      out.push_back(code);
    }
  }
  return out;
}

// Returns every pair of neighbours, so that FP4 has every byte: 256 codes of FP8, 512 of FP4.
inline std::vector<int> every_code(const ModelFormat& format) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<std::byte>(i));
  return unpacked(format, bytes);
}

inline std::vector<float> e8m0_scales() {
  std::vector<float> scales;
  for (int i = 0; i < 255; ++i) scales.push_back(static_cast<float>(std::ldexp(1.0, i - 127)));
  scales.push_back(std::numeric_limits<float>::quiet_NaN());
  return scales;
}

// Returns ordinary scales of both kinds and everything that is not ordinary, with both signs.
inline std::vector<float> many_scales(int random_ones) {
  std::vector<float> scales = {0.0f,
                               0x1p-149f,
                               0x1.8p-149f,
                               0x1.fp-130f,
                               0x1.fffffep-127f,
                               0x1p-126f,
                               0x1p-120f,
                               0x1.9p-118f,
                               0x1p-117f,
                               1.0f,
                               0x1.2345p-13f,
                               0x1.234568p-13f,
                               0x1p118f,
                               0x1.24924ap119f,
                               0x1.24a4a4p119f,
                               0x1.2480p119f,
                               0x1p120f,
                               0x1.fffffep127f,
                               146.0f,
                               146.2f,
                               146.28f,
                               150.0f,
                               0x1p-20f,
                               0x1.7p-24f,
                               std::numeric_limits<float>::infinity(),
                               single(0x7fc00000),
                               single(0x7f800001),
                               single(0x7fffffff)};
  std::mt19937 random(5);
  for (int i = 0; i < random_ones; ++i) {
    const uint32_t any = static_cast<uint32_t>(random());
    scales.push_back(single(any));                              // any bits
    scales.push_back(single(any & 0x7fff0000));                 // of BF16
    scales.push_back(single((any & 0x00ffffff) | 0x38000000));  // 2^-15 to 2^-13, as in models
  }
  const size_t count = scales.size();
  for (size_t i = 0; i < count; ++i) scales.push_back(-scales[i]);
  return scales;
}

constexpr Dtype kValueDtypes[] = {Dtype::kBF16, Dtype::kF16, Dtype::kF32};

// Runs one codec on codes. Values go in short runs, because a vector codec leaves a whole run to
// the reference if anything in it is extraordinary.
struct Runner {
  static constexpr size_t kRun = 16;

  const BlockCodec& codec;
  const ModelFormat& format;

  std::vector<std::byte> dequantize(const std::vector<int>& codes, float scale, Dtype to,
                                    int64_t* overflowed = nullptr) const {
    std::vector<std::byte> out(codes.size() * static_cast<size_t>(bits_of(to)) / 8);
    int64_t count = 0;
    codec.dequantize(format.format, packed(format, codes), scale, to, out, count);
    if (overflowed != nullptr) *overflowed = count;
    return out;
  }

  std::vector<int> find_codes(std::span<const std::byte> values, float scale, Dtype from,
                              int64_t* unrepresentable = nullptr) const {
    int64_t count = 0;
    auto codes = in_runs(values, from, [&](auto value_run, auto code_run) {
      count += codec.find_codes(format.format, from, value_run, scale, code_run);
    });
    if (unrepresentable != nullptr) *unrepresentable = count;
    return codes;
  }

  std::vector<int> quantize(std::span<const std::byte> values, float scale, Dtype from,
                            int64_t* clipped = nullptr) const {
    int64_t count = 0;
    auto codes = in_runs(values, from, [&](auto value_run, auto code_run) {
      codec.quantize(format.format, from, value_run, scale, code_run, count);
    });
    if (clipped != nullptr) *clipped = count;
    return codes;
  }

 private:
  template <typename Fn>
  std::vector<int> in_runs(std::span<const std::byte> values, Dtype from, const Fn& fn) const {
    const auto value_bits = static_cast<size_t>(bits_of(from));
    const auto code_bits = static_cast<size_t>(bits_of(format.format));
    std::vector<std::byte> codes(values.size() * code_bits / value_bits, std::byte{0xa5});
    const size_t length = values.size() * 8 / value_bits;
    for (size_t first = 0; first < length; first += kRun) {
      const size_t count = std::min(kRun, length - first);
      fn(values.subspan(first * value_bits / 8, count * value_bits / 8),
         std::span(codes).subspan(first * code_bits / 8, count * code_bits / 8));
    }
    return unpacked(format, codes);
  }
};

}  // namespace bridge
