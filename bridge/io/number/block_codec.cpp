// The scalar reference of the block codec, and the choice of the instruction set.
//
//   1. A run goes through buffers of kChunk elements: codes of one byte each (unpacked) and F32
//      values.
//   2. Codes become F32 products, then values: the last step is cast_floats, which also counts
//      overflows.
//   3. Values become F32 (cast_floats; exact), then candidate codes, then values again, which must
//      be the same.
#include "bridge/io/number/block_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "bridge/io/base/cpu.h"
#include "bridge/io/base/error.h"
#include "bridge/io/number/block_codec_forms.h"
#include "bridge/io/number/codec.h"
#include "bridge/io/number/int4.h"

namespace bridge {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kChunk = 256;
using Codes = std::array<uint8_t, kChunk>;
using Floats = std::array<float, kChunk>;

// Calls fn(F{}) for the format F.
template <typename Fn>
auto with_any_format(Dtype format, const Fn& fn) {
  return format == Dtype::kI4 ? fn(Int4{}) : with_format(format, fn);
}

uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffff;
}

// Calls fn(first, count) for each chunk of a run; chunks begin on even elements.
template <typename Fn>
void for_each_chunk(size_t length, const Fn& fn) {
  for (size_t first = 0; first < length; first += kChunk) {
    fn(first, std::min(kChunk, length - first));
  }
}

// Unpacks the codes of a run to one byte each.
template <typename F>
void unpack(std::span<const std::byte> run, size_t first, std::span<uint8_t> codes) {
  for (size_t i = 0; i < codes.size(); ++i) {
    if constexpr (F::kBits == 4) {
      const auto pair = static_cast<uint8_t>(run[(first + i) / 2]);
      codes[i] = i % 2 == 0 ? pair & 0xf : pair >> 4;
    } else {
      codes[i] = static_cast<uint8_t>(run[first + i]);
    }
  }
}

template <typename F>
void pack(std::span<const uint8_t> codes, std::span<std::byte> run, size_t first) {
  if constexpr (F::kBits == 4) {
    for (size_t i = 0; i < codes.size(); i += 2) {
      run[(first + i) / 2] = static_cast<std::byte>(codes[i] | codes[i + 1] << 4);
    }
  } else {
    std::memcpy(run.data() + first, codes.data(), codes.size());
  }
}

std::span<const std::byte> elements(Dtype dtype, std::span<const std::byte> run, size_t first,
                                    size_t count) {
  const size_t size = value_size(dtype);
  return run.subspan(first * size, count * size);
}

void widen(Dtype from, std::span<const std::byte> values, std::span<float> out) {
  int64_t overflowed = 0;  // nothing overflows in a wider type
  cast_floats(from, values, Dtype::kF32, std::as_writable_bytes(out), overflowed);
}

template <typename F>
float decode(int magnitude) {
  if (magnitude < F::kFirstNormalCode) return static_cast<float>(magnitude) * F::kUnit;
  return std::bit_cast<float>(static_cast<uint32_t>(magnitude + F::kRebias) << F::kShift);
}

// The F32 product of a code and a scale.
template <typename F>
float product(uint8_t code, float scale) {
  const int magnitude = code & (F::kSignCode - 1);
  const bool negative = (code & F::kSignCode) != 0;
  const float result = (negative ? -decode<F>(magnitude) : decode<F>(magnitude)) * scale;
  if (magnitude > F::kLargestCode || std::isnan(result)) {
    return std::bit_cast<float>(kCanonicalNan | (negative ? 0x80000000u : 0));
  }
  return result;
}

template <>
float product<Int4>(uint8_t code, float scale) {
  return Int4::product(code, scale);
}

// The magnitude code nearest to x, which is neither negative nor NaN; ties to even, saturating.
template <typename F>
int nearest(float x) {
  x = std::min(x, F::kLargestValue);
  if (x < F::kSmallestNormal) {
    return std::bit_cast<int>(x + F::kUnitPlace) - std::bit_cast<int>(F::kUnitPlace);
  }
  const int bits = std::bit_cast<int>(x);
  const int odd = bits >> F::kShift & 1;
  return ((bits + (1 << (F::kShift - 1)) - 1 + odd) >> F::kShift) - F::kRebias;
}

template <typename F>
uint8_t with_sign(int magnitude, bool negative) {
  return static_cast<uint8_t>(magnitude | (negative ? F::kSignCode : 0));
}

// The code of the value under a scale, rounded. clipped: see BlockCodec::quantize.
template <typename F>
uint8_t rounded(float value, float scale, int64_t& clipped) {
  constexpr int kNan = F::kHasNan ? F::kNanCode : 0;
  const float quotient = std::fabs(value) / std::fabs(scale);
  const int magnitude = std::isnan(quotient) ? kNan : nearest<F>(quotient);
  clipped += quotient > F::kClippedAbove ? 1 : 0;
  return with_sign<F>(magnitude, std::signbit(value) != std::signbit(scale));
}

template <>
uint8_t rounded<Int4>(float value, float scale, int64_t& clipped) {
  return Int4::rounded(value, scale, clipped);
}

// The values after rounding to dtype `to`, held in F32.
template <typename F>
void dequantize_to_floats(std::span<const uint8_t> codes, float scale, Dtype to,
                          std::span<float> out) {
  Floats products;
  std::array<std::byte, kChunk * sizeof(float)> narrow;
  for (size_t i = 0; i < codes.size(); ++i) products[i] = product<F>(codes[i], scale);
  const std::span<std::byte> values = std::span(narrow).first(codes.size() * value_size(to));
  int64_t overflowed = 0;  // an infinity is compared like any other value
  cast_floats(Dtype::kF32, std::as_bytes(std::span(products).first(codes.size())), to, values,
              overflowed);
  widen(to, values, out.first(codes.size()));
}

// The only code that can give the value (see block_codec.h).
template <typename F>
uint8_t candidate(float value, float scale) {
  if (std::isnan(value)) return with_sign<F>(F::kHasNan ? F::kNanCode : 0, std::signbit(value));
  const float quotient = std::fabs(value) / std::fabs(scale);
  int magnitude = 0;
  if (std::isinf(value) && std::isinf(scale)) {
    magnitude = 1;
  } else if (!std::isnan(quotient)) {
    magnitude = nearest<F>(quotient);
  }
  return with_sign<F>(magnitude, std::signbit(value) != std::signbit(scale));
}

template <>
uint8_t candidate<Int4>(float value, float scale) {
  return Int4::candidate(value, scale);
}

template <typename F>
int64_t find_codes_as(Dtype from, std::span<const std::byte> values, float scale,
                      std::span<std::byte> run) {
  const size_t length = run_length(F::kDtype, run.size(), from, values.size());
  int64_t unrepresentable = 0;
  Floats wanted;
  Floats given;
  Codes codes;
  for_each_chunk(length, [&](size_t first, size_t count) {
    widen(from, elements(from, values, first, count), std::span(wanted).first(count));
    for (size_t i = 0; i < count; ++i) codes[i] = candidate<F>(wanted[i], scale);
    const std::span<uint8_t> candidates = std::span(codes).first(count);
    dequantize_to_floats<F>(candidates, scale, from, given);
    for (size_t i = 0; i < count; ++i) {
      const bool same = std::bit_cast<uint32_t>(wanted[i]) == std::bit_cast<uint32_t>(given[i]);
      if (same && (F::kHasNan || !std::isnan(wanted[i]))) continue;
      codes[i] = F::kZeroCode;
      ++unrepresentable;
    }
    pack<F>(candidates, run, first);
  });
  return unrepresentable;
}

template <typename F>
void dequantize_as(std::span<const std::byte> run, float scale, Dtype to,
                   std::span<std::byte> values, int64_t& overflowed) {
  const size_t length = run_length(F::kDtype, run.size(), to, values.size());
  const size_t size = value_size(to);
  Codes codes;
  Floats products;
  for_each_chunk(length, [&](size_t first, size_t count) {
    unpack<F>(run, first, std::span(codes).first(count));
    for (size_t i = 0; i < count; ++i) products[i] = product<F>(codes[i], scale);
    cast_floats(Dtype::kF32, std::as_bytes(std::span(products).first(count)), to,
                values.subspan(first * size, count * size), overflowed);
  });
}

template <typename F>
void quantize_as(Dtype from, std::span<const std::byte> values, float scale,
                 std::span<std::byte> run, int64_t& clipped) {
  const size_t length = run_length(F::kDtype, run.size(), from, values.size());
  Floats floats;
  Codes codes;
  for_each_chunk(length, [&](size_t first, size_t count) {
    widen(from, elements(from, values, first, count), std::span(floats).first(count));
    for (size_t i = 0; i < count; ++i) codes[i] = rounded<F>(floats[i], scale, clipped);
    pack<F>(std::span(codes).first(count), run, first);
  });
}

void dequantize(Dtype format, std::span<const std::byte> codes, float scale, Dtype to,
                std::span<std::byte> values, int64_t& overflowed) {
  with_any_format(format,
                  [&]<typename F>(F) { dequantize_as<F>(codes, scale, to, values, overflowed); });
}

int64_t find_codes(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
                   std::span<std::byte> codes) {
  return with_any_format(
      format, [&]<typename F>(F) { return find_codes_as<F>(from, values, scale, codes); });
}

float amax(Dtype from, std::span<const std::byte> values) {
  // The bits of the magnitudes grow with the magnitudes; NaN is above them all.
  uint32_t largest = 0;
  Floats floats;
  const size_t size = value_size(from);
  if (values.size() % size != 0) {
    internal_error(fmt::format("{} bytes of {}", values.size(), safetensors_name(from)));
  }
  for_each_chunk(values.size() / size, [&](size_t first, size_t count) {
    widen(from, elements(from, values, first, count), std::span(floats).first(count));
    for (size_t i = 0; i < count; ++i) largest = std::max(largest, magnitude_bits(floats[i]));
  });
  return std::bit_cast<float>(largest > 0x7f800000 ? kCanonicalNan : largest);
}

void quantize(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
              std::span<std::byte> codes, int64_t& clipped) {
  with_any_format(format,
                  [&]<typename F>(F) { quantize_as<F>(from, values, scale, codes, clipped); });
}

}  // namespace

void no_such_format(Dtype format) {
  internal_error(fmt::format("{} has no block scales", safetensors_name(format)));
}

size_t value_size(Dtype dtype) {
  if (dtype != Dtype::kBF16 && dtype != Dtype::kF16 && dtype != Dtype::kF32) {
    internal_error(fmt::format("{} values of blocks", safetensors_name(dtype)));
  }
  return static_cast<size_t>(bits_of(dtype)) / 8;
}

size_t run_length(Dtype format, size_t code_bytes, Dtype dtype, size_t value_bytes) {
  const size_t count = code_bytes * 8 / static_cast<size_t>(bits_of(format));
  if (value_bytes != count * value_size(dtype)) {
    internal_error(fmt::format("{} bytes of {} for {} bytes of {}", code_bytes,
                               safetensors_name(format), value_bytes, safetensors_name(dtype)));
  }
  return count;
}

const BlockCodec& scalar_block_codec() {
  static constexpr BlockCodec kScalar = {dequantize, find_codes, amax, quantize};
  return kScalar;
}

const BlockCodec& block_codec() {
  static const BlockCodec* const kChosen = has_avx2() ? &avx2_block_codec() : &scalar_block_codec();
  return *kChosen;
}

}  // namespace bridge
