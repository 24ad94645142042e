// Casts of plain floats, as loops over integers without branches, so that the compiler can
// vectorise them. The same source is compiled twice: for the processors that every build runs on,
// and for AVX2, chosen at run time. Both give the same bits, because the operations are the same.
//
//   1. F64 <-> F32: the processor's conversion does exactly what codec.h defines.
//   2. BF16, F16 -> F32: a shift, or a shift and a new exponent; exact. On to F64: exact again.
//   3. F32, F64 -> BF16, F16: three results are computed and one is chosen by the size of the
//      value:
//      normal:    add just under half a unit of the last kept place (a tie takes its kept bit),
//                 drop the rest, change the bias; a carry into the exponent is correct
//                 rounding, up to infinity
//      subnormal: add the power of two whose last place is the unit of the target's subnormals:
//                 the processor rounds; the low bits of the sum are the result
//      NaN:       the upper payload bits, quiet
//   4. BF16 <-> F16: through F32, which holds both exactly, so there is one rounding.
//
// Needs the default rounding mode and subnormals switched on (no -ffast-math), and
// -fno-trapping-math, which changes no result: without it g++ does not vectorise a choice between
// floating-point results that might trap.
#include "bridge/io/number/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "bridge/io/base/cpu.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

static_assert(std::endian::native == std::endian::little);

// A binary interchange format with its sign, kExponent and kMantissa bits in a word of type Bits.
template <typename BitsType, int kExponentBits, int kMantissaBits>
struct Format {
  using Bits = BitsType;
  static constexpr int kExponent = kExponentBits;
  static constexpr int kMantissa = kMantissaBits;
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr Bits kSign = static_cast<Bits>(Bits{1} << (kExponent + kMantissa));
  static constexpr Bits kInfinity = static_cast<Bits>(((Bits{1} << kExponent) - 1) << kMantissa);
  static constexpr Bits kQuiet = static_cast<Bits>(Bits{1} << (kMantissa - 1));
};
using Half = Format<uint16_t, 5, 10>;
using Brain = Format<uint16_t, 8, 7>;
using Single = Format<uint32_t, 8, 23>;
using Double = Format<uint64_t, 11, 52>;

template <typename F>
bool is_finite(typename F::Bits bits) {
  return (bits & F::kInfinity) != F::kInfinity;
}

float widen(Brain, uint16_t code) {
  uint32_t bits = static_cast<uint32_t>(code) << 16;
  const bool nan = (bits & ~Single::kSign) > Single::kInfinity;
  bits |= nan ? Single::kQuiet : 0;
  return std::bit_cast<float>(bits);
}

float widen(Half, uint16_t code) {
  constexpr int kShift = Single::kMantissa - Half::kMantissa;
  constexpr uint32_t kRebias = static_cast<uint32_t>(Single::kBias - Half::kBias) << 23;
  // 2^-14, the smallest normal half: a subnormal's bits above that exponent give its value plus
  // 2^-14.
  constexpr uint32_t kSmallest = kRebias + (1u << 23);
  const uint32_t sign = static_cast<uint32_t>(code & Half::kSign) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(code & ~Half::kSign & 0xffff) << kShift;
  const uint32_t normal = magnitude + kRebias;
  const float difference =
      std::bit_cast<float>(magnitude + kSmallest) - std::bit_cast<float>(kSmallest);
  const auto subnormal = std::bit_cast<uint32_t>(difference);
  const bool special = magnitude >= static_cast<uint32_t>(Half::kInfinity) << kShift;
  const bool nan = magnitude > static_cast<uint32_t>(Half::kInfinity) << kShift;
  uint32_t bits = magnitude < 1u << 23 ? subnormal : normal;
  bits = special ? magnitude | Single::kInfinity : bits;
  bits |= nan ? Single::kQuiet : 0;
  return std::bit_cast<float>(bits | sign);
}

// Float is float or double; From is its format.
template <typename From, typename To, typename Float>
typename To::Bits narrow(Float value) {
  using Bits = typename From::Bits;
  constexpr int kShift = From::kMantissa - To::kMantissa;
  constexpr Bits kRebias = static_cast<Bits>(From::kBias - To::kBias) << From::kMantissa;
  constexpr Bits kSmallestNormal = kRebias + (Bits{1} << From::kMantissa);
  // 2^(exponent of the target's subnormals + places of From): its last place is the subnormals'
  // unit.
  constexpr Bits kUnitPlace =
      static_cast<Bits>(From::kBias + (1 - To::kBias - To::kMantissa) + From::kMantissa)
      << From::kMantissa;

  const Bits bits = std::bit_cast<Bits>(value);
  const Bits magnitude = bits & ~From::kSign;
  const Bits odd = magnitude >> kShift & 1;
  const Bits rounded = (magnitude - kRebias + ((Bits{1} << (kShift - 1)) - 1) + odd) >> kShift;
  const Bits normal = rounded < To::kInfinity ? rounded : To::kInfinity;
  const Bits nan = (magnitude >> kShift & (To::kQuiet - 1)) | To::kQuiet | To::kInfinity;
  Bits result = normal;
  // If the biases are equal, the steps above are right for subnormals too.
  if constexpr (From::kBias != To::kBias) {
    const Float sum = std::bit_cast<Float>(magnitude) + std::bit_cast<Float>(kUnitPlace);
    const Bits subnormal = std::bit_cast<Bits>(sum) - kUnitPlace;
    result = magnitude < kSmallestNormal ? subnormal : normal;
  }
  result = magnitude > From::kInfinity ? nan : result;
  const Bits sign = (bits & From::kSign) >> (8 * (sizeof(Bits) - sizeof(typename To::Bits)));
  return static_cast<typename To::Bits>(result | sign);
}

// Converts one element: the bits of From to the bits of To.
template <typename From, typename To>
typename To::Bits convert(typename From::Bits bits) {
  if constexpr (std::is_same_v<From, Single> && std::is_same_v<To, Double>) {
    return std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(bits)));
  } else if constexpr (std::is_same_v<From, Double> && std::is_same_v<To, Single>) {
    return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
  } else if constexpr (std::is_same_v<From, Single>) {
    return narrow<Single, To>(std::bit_cast<float>(bits));
  } else if constexpr (std::is_same_v<From, Double>) {
    return narrow<Double, To>(std::bit_cast<double>(bits));
  } else if constexpr (std::is_same_v<To, Single>) {
    return std::bit_cast<uint32_t>(widen(From{}, bits));
  } else {
    return convert<Single, To>(convert<From, Single>(bits));
  }
}

template <typename From, typename To>
void convert_all(std::span<const std::byte> in, std::span<std::byte> out, int64_t& overflowed) {
  using In = typename From::Bits;
  using Out = typename To::Bits;
  if constexpr (std::is_same_v<From, To>) {
    std::copy(in.begin(), in.end(), out.begin());
  } else {
    const std::byte* __restrict source = in.data();
    std::byte* __restrict target = out.data();
    const size_t count = in.size() / sizeof(In);
    // Small enough that a block's count fits a narrow lane.
    constexpr size_t kBlock = 4096;
    for (size_t start = 0; start < count; start += kBlock) {
      const size_t stop = std::min(count, start + kBlock);
      Out overflows = 0;
      for (size_t i = start; i < stop; ++i) {
        In bits;
        std::memcpy(&bits, source + i * sizeof(In), sizeof(In));
        const Out result = convert<From, To>(bits);
        std::memcpy(target + i * sizeof(Out), &result, sizeof(Out));
        overflows = static_cast<Out>(overflows + (is_finite<From>(bits) && !is_finite<To>(result)));
      }
      overflowed += static_cast<int64_t>(overflows);
    }
  }
}

struct Portable {
  template <typename From, typename To>
  static void convert(std::span<const std::byte> in, std::span<std::byte> out,
                      int64_t& overflowed) {
    convert_all<From, To>(in, out, overflowed);
  }
};

#if defined(__x86_64__)
struct Avx2 {
  template <typename From, typename To>
  __attribute__((target("avx2"), flatten)) static void convert(std::span<const std::byte> in,
                                                               std::span<std::byte> out,
                                                               int64_t& overflowed) {
    convert_all<From, To>(in, out, overflowed);
  }
};
#else
using Avx2 = Portable;
#endif

template <typename Form, typename From>
void convert_from(std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                  int64_t& overflowed) {
  switch (to) {
    case Dtype::kF16:
      return Form::template convert<From, Half>(in, out, overflowed);
    case Dtype::kBF16:
      return Form::template convert<From, Brain>(in, out, overflowed);
    case Dtype::kF32:
      return Form::template convert<From, Single>(in, out, overflowed);
    default:
      return Form::template convert<From, Double>(in, out, overflowed);
  }
}

template <typename Form>
void cast(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
          int64_t& overflowed) {
  if (!is_plain_float(from) || !is_plain_float(to)) {
    internal_error(fmt::format("cast of {} to {}", safetensors_name(from), safetensors_name(to)));
  }
  const size_t in_size = static_cast<size_t>(bits_of(from)) / 8;
  const size_t out_size = static_cast<size_t>(bits_of(to)) / 8;
  if (in.size() % in_size != 0 || out.size() % out_size != 0 ||
      in.size() / in_size != out.size() / out_size) {
    internal_error(fmt::format("cast of {} bytes of {} to {} bytes of {}", in.size(),
                               safetensors_name(from), out.size(), safetensors_name(to)));
  }
  switch (from) {
    case Dtype::kF16:
      return convert_from<Form, Half>(in, to, out, overflowed);
    case Dtype::kBF16:
      return convert_from<Form, Brain>(in, to, out, overflowed);
    case Dtype::kF32:
      return convert_from<Form, Single>(in, to, out, overflowed);
    default:
      return convert_from<Form, Double>(in, to, out, overflowed);
  }
}

}  // namespace

void cast_floats_portable(Dtype from, std::span<const std::byte> in, Dtype to,
                          std::span<std::byte> out, int64_t& overflowed) {
  cast<Portable>(from, in, to, out, overflowed);
}

void cast_floats(Dtype from, std::span<const std::byte> in, Dtype to, std::span<std::byte> out,
                 int64_t& overflowed) {
  static const bool kAvx2 = has_avx2();
  return kAvx2 ? cast<Avx2>(from, in, to, out, overflowed)
               : cast<Portable>(from, in, to, out, overflowed);
}

}  // namespace bridge
