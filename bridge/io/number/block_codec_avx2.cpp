// The block codec eight elements at a time, with AVX2 and (for F16) F16C. It gives the same bits as
// the reference because it does the same F32 operations; only the layout in lanes differs.
//
//   1. Ordinary runs are done here. dequantize and find_codes need a finite scale whose product
//      with the largest code is finite in the target, and find_codes needs a scale that is not
//      zero. Nothing can overflow then, and only NaN codes give NaNs. quantize takes any scale.
//   2. The reference does the rest: the whole run for other scales and, in find_codes and quantize,
//      for NaNs; the last elements of a run whose length is not a multiple of eight; and INT4.
//
// Subnormal codes are made from integers, because subnormal operands are slow on many processors.
// Truth: Intel's Intrinsics Guide.
#include "bridge/io/base/error.h"
#include "bridge/io/number/block_codec_forms.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#define CAUSEWAY_AVX2 __attribute__((target("avx2,f16c")))

namespace bridge {
namespace {

constexpr size_t kLanes = 8;

// How this file sees a type of values: its fields as integers in 32-bit lanes.
template <Dtype kDtype>
struct Plain;
template <>
struct Plain<Dtype::kBF16> {
  static constexpr int kBits = 16;
  static constexpr int kInfinity = 0x7f80;
  static constexpr float kLargest = 0x1.fep127f;
};
template <>
struct Plain<Dtype::kF16> {
  static constexpr int kBits = 16;
  static constexpr int kInfinity = 0x7c00;
  static constexpr float kLargest = 65504;
};
template <>
struct Plain<Dtype::kF32> {
  static constexpr int kBits = 32;
  static constexpr int kInfinity = 0x7f800000;
  static constexpr float kLargest = 0x1.fffffep127f;
};

template <int kBits>
constexpr size_t bytes(size_t count) {
  return count * kBits / 8;
}

template <typename F, Dtype kDtype>
bool is_ordinary(float scale) {
  return std::fabs(scale) * F::kLargestValue <= Plain<kDtype>::kLargest;
}

// Loads the bits of eight values.
template <Dtype kDtype>
CAUSEWAY_AVX2 __m256i load_bits(const std::byte* at) {
  if constexpr (kDtype == Dtype::kF32) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  } else {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
}

template <Dtype kDtype>
CAUSEWAY_AVX2 __m256 load_floats(const std::byte* at) {
  if constexpr (kDtype == Dtype::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
  } else if constexpr (kDtype == Dtype::kF16) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  } else {
    return _mm256_castsi256_ps(_mm256_slli_epi32(load_bits<kDtype>(at), 16));
  }
}

// Rounds to the type, ties to even; a NaN must be the canonical one.
template <Dtype kDtype>
CAUSEWAY_AVX2 __m256i narrow(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  if constexpr (kDtype == Dtype::kF32) {
    return bits;
  } else if constexpr (kDtype == Dtype::kF16) {
    return _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  } else {
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    return _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
  }
}

// Packs eight lanes of at most 16 bits.
CAUSEWAY_AVX2 __m128i pack16(__m256i lanes) {
  return _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
}

template <Dtype kDtype>
CAUSEWAY_AVX2 void store_bits(std::byte* at, __m256i bits) {
  if constexpr (kDtype == Dtype::kF32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), bits);
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), pack16(bits));
  }
}

// For FP4, the upper bits hold the other codes of the word.
template <typename F>
CAUSEWAY_AVX2 __m256i load_codes(const std::byte* at) {
  if constexpr (F::kDtype == Dtype::kF4E2M1) {
    int word = 0;
    std::memcpy(&word, at, 4);
    return _mm256_srlv_epi32(_mm256_set1_epi32(word),
                             _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  } else {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
}

template <typename F>
CAUSEWAY_AVX2 void store_codes(std::byte* at, __m256i codes) {
  const __m128i words = pack16(codes);
  const __m128i bytes = _mm_packus_epi16(words, words);
  if constexpr (F::kDtype == Dtype::kF4E2M1) {
    const __m128i pairs = _mm_maddubs_epi16(bytes, _mm_set1_epi16(0x1001));  // even + 16 * odd
    const int word = _mm_cvtsi128_si32(_mm_packus_epi16(pairs, pairs));
    std::memcpy(at, &word, 4);
  } else {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), bytes);
  }
}

CAUSEWAY_AVX2 __m256 choose(__m256i mask, __m256 yes, __m256 no) {
  return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(mask));
}

template <typename F>
CAUSEWAY_AVX2 __m256 decode(__m256i magnitudes) {
  if constexpr (F::kDtype == Dtype::kF4E2M1) {
    return _mm256_permutevar8x32_ps(_mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6), magnitudes);
  } else {
    const __m256i bits =
        _mm256_slli_epi32(_mm256_add_epi32(magnitudes, _mm256_set1_epi32(F::kRebias)), F::kShift);
    const __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitudes), _mm256_set1_ps(F::kUnit));
    const __m256i subnormal =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(F::kFirstNormalCode), magnitudes);
    return choose(subnormal, small, _mm256_castsi256_ps(bits));
  }
}

struct Nearest {
  __m256i codes;
  __m256 values;
};

// The magnitude codes nearest to quotients without sign, and their values. A NaN counts as large.
//
// The addend has the exponent of the quotient, or of the smallest normal, plus kShift: the
// processor rounds the sum to the format's places, to even, and the sum's low bits count them (8 to
// 16 for e4m3, from 0 where it is subnormal).
template <typename F>
CAUSEWAY_AVX2 Nearest nearest(__m256 quotients) {
  constexpr int kSmallest = std::bit_cast<int>(F::kSmallestNormal);
  constexpr int kFirstBinade = kSmallest >> F::kShift;  // in codes
  const __m256 x = _mm256_min_ps(quotients, _mm256_set1_ps(F::kLargestValue));
  const __m256i exponents = _mm256_max_epi32(
      _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(Plain<Dtype::kF32>::kInfinity)),
      _mm256_set1_epi32(kSmallest));
  const __m256i place = _mm256_add_epi32(exponents, _mm256_set1_epi32(F::kShift << 23));
  const __m256 sum = _mm256_add_ps(x, _mm256_castsi256_ps(place));
  const __m256i places = _mm256_sub_epi32(_mm256_castps_si256(sum), place);
  const __m256i binade =
      _mm256_sub_epi32(_mm256_srli_epi32(exponents, F::kShift), _mm256_set1_epi32(kFirstBinade));
  return {_mm256_add_epi32(places, binade), _mm256_sub_ps(sum, _mm256_castsi256_ps(place))};
}

// The sign of each value times that of the scale, as the sign of a code.
template <typename F, Dtype kDtype>
CAUSEWAY_AVX2 __m256i code_signs(__m256i value_bits, float scale) {
  constexpr int kDown = Plain<kDtype>::kBits - F::kBits;
  const __m256i sign = _mm256_set1_epi32(F::kSignCode);
  const __m256i own = _mm256_and_si256(_mm256_srli_epi32(value_bits, kDown), sign);
  return std::signbit(scale) ? _mm256_xor_si256(own, sign) : own;
}

// The sum of eight counts.
CAUSEWAY_AVX2 int64_t sum_of(__m256i counts) {
  alignas(32) int lanes[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), counts);
  int64_t sum = 0;
  for (const int lane : lanes) sum += lane;
  return sum;
}

CAUSEWAY_AVX2 __m256 magnitude(__m256 x) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

template <typename F, Dtype kDtype>
CAUSEWAY_AVX2 void dequantize_eights(const std::byte* codes, float scale, std::byte* values,
                                     size_t count) {
  constexpr int kSignUp = 32 - F::kBits;
  const __m256 scales = _mm256_set1_ps(scale);
  for (size_t i = 0; i < count; i += kLanes) {
    const __m256i code = load_codes<F>(codes + bytes<F::kBits>(i));
    const __m256i sign =
        _mm256_and_si256(_mm256_slli_epi32(code, kSignUp), _mm256_set1_epi32(INT32_MIN));
    const __m256i magnitudes = _mm256_and_si256(code, _mm256_set1_epi32(F::kSignCode - 1));
    const __m256 value = _mm256_or_ps(decode<F>(magnitudes), _mm256_castsi256_ps(sign));
    __m256 product = _mm256_mul_ps(value, scales);
    if constexpr (F::kHasNan) {
      const __m256i nan = _mm256_or_si256(sign, _mm256_set1_epi32(static_cast<int>(kCanonicalNan)));
      product = choose(_mm256_cmpeq_epi32(magnitudes, _mm256_set1_epi32(F::kNanCode)),
                       _mm256_castsi256_ps(nan), product);
    }
    store_bits<kDtype>(values + bytes<Plain<kDtype>::kBits>(i), narrow<kDtype>(product));
  }
}

// True if a product with the inverse of the scale finds the same codes as a division. A code
// matters only if its product is the value; the quotient is then within 2^-9 of the code: far
// nearer than to the middle between two codes, as long as neither the products nor the inverse are
// subnormal. The exponents of F16 are too small for that.
template <Dtype kDtype>
bool may_multiply(float scale) {
  return kDtype != Dtype::kF16 && std::fabs(scale) >= 0x1p-100f && std::fabs(scale) <= 0x1p100f;
}

// Returns the number of unrepresentable values, or nothing if the run needs the reference.
template <typename F, Dtype kDtype, bool kMultiply>
CAUSEWAY_AVX2 std::optional<int64_t> find_eights(const std::byte* values, float scale,
                                                 std::byte* codes, size_t count) {
  using Type = Plain<kDtype>;
  const __m256 scales = _mm256_set1_ps(std::fabs(scale));
  const __m256 inverse = _mm256_set1_ps(1 / std::fabs(scale));
  const __m256i all_but_sign = _mm256_set1_epi32(static_cast<int>(~0u >> (33 - Type::kBits)));
  __m256i found = _mm256_setzero_si256();
  __m256i largest = _mm256_setzero_si256();  // a NaN is larger than infinity
  for (size_t i = 0; i < count; i += kLanes) {
    const std::byte* const at = values + bytes<Type::kBits>(i);
    const __m256i bits = load_bits<kDtype>(at);
    const __m256i wanted = _mm256_and_si256(bits, all_but_sign);
    largest = _mm256_max_epi32(largest, wanted);
    const __m256 x = magnitude(load_floats<kDtype>(at));
    const Nearest guess =
        nearest<F>(kMultiply ? _mm256_mul_ps(x, inverse) : _mm256_div_ps(x, scales));
    const __m256i given = narrow<kDtype>(_mm256_mul_ps(guess.values, scales));
    const __m256i same = _mm256_cmpeq_epi32(wanted, given);
    found = _mm256_sub_epi32(found, same);
    const __m256i code = _mm256_or_si256(guess.codes, code_signs<F, kDtype>(bits, scale));
    store_codes<F>(codes + bytes<F::kBits>(i), _mm256_and_si256(same, code));
  }
  const __m256i nan = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(Type::kInfinity));
  if (!_mm256_testz_si256(nan, nan)) return std::nullopt;
  return static_cast<int64_t>(count) - sum_of(found);
}

// Returns the number of clipped values, or nothing if the run needs the reference.
template <typename F, Dtype kDtype>
CAUSEWAY_AVX2 std::optional<int64_t> quantize_eights(const std::byte* values, float scale,
                                                     std::byte* codes, size_t count) {
  const __m256 scales = _mm256_set1_ps(std::fabs(scale));
  __m256i clipped = _mm256_setzero_si256();
  for (size_t i = 0; i < count; i += kLanes) {
    const std::byte* const at = values + bytes<Plain<kDtype>::kBits>(i);
    const __m256 quotient = _mm256_div_ps(magnitude(load_floats<kDtype>(at)), scales);
    const __m256 nan = _mm256_cmp_ps(quotient, quotient, _CMP_UNORD_Q);
    if (_mm256_movemask_ps(nan) != 0) return std::nullopt;
    const __m256 beyond = _mm256_cmp_ps(quotient, _mm256_set1_ps(F::kClippedAbove), _CMP_GT_OQ);
    clipped = _mm256_sub_epi32(clipped, _mm256_castps_si256(beyond));
    const __m256i sign = code_signs<F, kDtype>(load_bits<kDtype>(at), scale);
    store_codes<F>(codes + bytes<F::kBits>(i), _mm256_or_si256(nearest<F>(quotient).codes, sign));
  }
  return sum_of(clipped);
}

template <Dtype kDtype>
CAUSEWAY_AVX2 float amax_eights(const std::byte* values, size_t count) {
  __m256i largest = _mm256_setzero_si256();  // magnitudes grow with their bits; NaN is above all
  for (size_t i = 0; i < count; i += kLanes) {
    const __m256 x = magnitude(load_floats<kDtype>(values + bytes<Plain<kDtype>::kBits>(i)));
    largest = _mm256_max_epi32(largest, _mm256_castps_si256(x));
  }
  alignas(32) uint32_t lanes[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), largest);
  const uint32_t bits = *std::max_element(lanes, lanes + kLanes);
  return std::bit_cast<float>(bits > Plain<Dtype::kF32>::kInfinity ? kCanonicalNan : bits);
}

// Calls fn.operator()<F, kDtype>() for the types of a run.
template <typename Fn>
auto with_types(Dtype format, Dtype dtype, const Fn& fn) {
  return with_format(format, [&]<typename F>(F) {
    switch (dtype) {
      case Dtype::kBF16:
        return fn.template operator()<F, Dtype::kBF16>();
      case Dtype::kF16:
        return fn.template operator()<F, Dtype::kF16>();
      default:
        return fn.template operator()<F, Dtype::kF32>();
    }
  });
}

void dequantize(Dtype format, std::span<const std::byte> codes, float scale, Dtype to,
                std::span<std::byte> values, int64_t& overflowed) {
  if (format == Dtype::kI4) {
    return scalar_block_codec().dequantize(format, codes, scale, to, values, overflowed);
  }
  const size_t length = run_length(format, codes.size(), to, values.size());
  with_types(format, to, [&]<typename F, Dtype kDtype>() {
    const size_t count = is_ordinary<F, kDtype>(scale) ? length / kLanes * kLanes : 0;
    dequantize_eights<F, kDtype>(codes.data(), scale, values.data(), count);
    if (count == length) return;
    scalar_block_codec().dequantize(format, codes.subspan(bytes<F::kBits>(count)), scale, to,
                                    values.subspan(bytes<Plain<kDtype>::kBits>(count)), overflowed);
  });
}

int64_t find_codes(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
                   std::span<std::byte> codes) {
  if (format == Dtype::kI4) {
    return scalar_block_codec().find_codes(format, from, values, scale, codes);
  }
  const size_t length = run_length(format, codes.size(), from, values.size());
  return with_types(format, from, [&]<typename F, Dtype kDtype>() -> int64_t {
    size_t count = is_ordinary<F, kDtype>(scale) && scale != 0 ? length / kLanes * kLanes : 0;
    const auto find =
        may_multiply<kDtype>(scale) ? find_eights<F, kDtype, true> : find_eights<F, kDtype, false>;
    const auto here = find(values.data(), scale, codes.data(), count);
    count = here ? count : 0;
    const int64_t missing = here.value_or(0);
    if (count == length) return missing;
    return missing + scalar_block_codec().find_codes(
                         format, from, values.subspan(bytes<Plain<kDtype>::kBits>(count)), scale,
                         codes.subspan(bytes<F::kBits>(count)));
  });
}

float amax(Dtype from, std::span<const std::byte> values) {
  const size_t size = value_size(from);
  const size_t count = values.size() / size / kLanes * kLanes;
  float eights = 0;
  switch (from) {
    case Dtype::kBF16:
      eights = amax_eights<Dtype::kBF16>(values.data(), count);
      break;
    case Dtype::kF16:
      eights = amax_eights<Dtype::kF16>(values.data(), count);
      break;
    default:
      eights = amax_eights<Dtype::kF32>(values.data(), count);
      break;
  }
  const float rest = scalar_block_codec().amax(from, values.subspan(count * size));
  // Compared by their bits, where a NaN is the largest.
  return std::bit_cast<float>(
      std::max(std::bit_cast<uint32_t>(eights), std::bit_cast<uint32_t>(rest)));
}

void quantize(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
              std::span<std::byte> codes, int64_t& clipped) {
  if (format == Dtype::kI4) {
    return scalar_block_codec().quantize(format, from, values, scale, codes, clipped);
  }
  const size_t length = run_length(format, codes.size(), from, values.size());
  with_types(format, from, [&]<typename F, Dtype kDtype>() {
    size_t count = length / kLanes * kLanes;
    const auto here = quantize_eights<F, kDtype>(values.data(), scale, codes.data(), count);
    count = here ? count : 0;
    clipped += here.value_or(0);
    if (count == length) return;
    scalar_block_codec().quantize(format, from, values.subspan(bytes<Plain<kDtype>::kBits>(count)),
                                  scale, codes.subspan(bytes<F::kBits>(count)), clipped);
  });
}

}  // namespace

const BlockCodec& avx2_block_codec() {
  static constexpr BlockCodec kAvx2 = {dequantize, find_codes, amax, quantize};
  return kAvx2;
}

}  // namespace bridge

#else

namespace bridge {

const BlockCodec& avx2_block_codec() {
  internal_error("AVX2 is not for this processor");
}

}  // namespace bridge

#endif
