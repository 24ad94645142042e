// Block-scaled quantized elements: FP8 (e4m3fn), FP4 (e2m1) and INT4 (int4.h), the last two with
// two to a byte and the even column in the low nibble, each times a scale that a block of them
// shares. All functions work on one run of elements of one block (a row of it), so they know no
// geometry.
//
//   dequantize   v = round_to(dtype, float(code) * scale): one F32 product and one rounding, as the
//                models' owners do. A NaN (of the code, the scale, or 0 * inf) becomes the quiet
//                NaN without payload that has the sign of the code.
//   find_codes   the inverse under a known scale. The canonical code of v is c0 = nearest code of
//                |v| / |scale| (F32 division, ties to even, saturating; NaN gives 0, but infinite v
//                and scale give 1) with v's sign (flipped for a negative scale). If c0 does not
//                dequantize to v bit for bit, no code does (see below), and the element is
//                unrepresentable. The canonical NaN has code 0x7f or 0xff (FP4, INT4: none).
//   quantize     code = nearest(clamp(v / scale, -max, max)), ties to even, sign of zero kept; a
//                NaN becomes 0x7f or 0xff (FP4, INT4: a zero)
//   new_scale    F32: max(amax, 1e-4) / 448; BF16: that rounded to nearest even; E8M0: that rounded
//                up to a power of two (by exponent bits). FP4 with E8M0:
//                max(amax, 6 * 2^-126) / 6 rounded up to a power of two; FP4 with U8 (MXFP4 of
//                gpt-oss): amax / 6 rounded up to a power of two, 2^-127 (byte 0) if that is zero.
//                INT4 has F32 and BF16: amax / 7, so that no value is clipped, and where that is 0
//                the machine epsilon of the scale's type, as compressed-tensors has it
//
// Why find_codes tries no other code: where v is normal, neighbouring products are at least v / 16
// apart and rounding moves them by at most v / 256, so at most one code gives v, the nearest. Where
// v is subnormal, values lie equally far apart on both sides of it, so the nearest product gives v
// if any does, unless two neighbouring products are both half a unit away from v; but codes are
// multiples of the gap beside them, here a unit, so their products are whole units. An infinite
// scale gives NaN (code 0) and infinities, the first for code 1.
//
// Every result has the same bits on every instruction set: tests compare the vector forms with the
// scalar reference. Truth: inference/kernel.py of DeepSeek-V3.2 and V4 (act_quant, fp4_quant,
// fast_round_scale), fp8_cast_bf16.py of DeepSeek-V3; OCP Microscaling Formats 1.0 for e4m3, e2m1
// and e8m0; compressed-tensors (forward_helpers.py, calculate_qparams) for INT4. Of MXFP4:
// transformers/integrations/mxfp4.py, whose quantize_to_mxfp4 is downcast_to_mxfp_torch of
// triton_kernels (numerics_details/mxfp.py, ROUND_UP; ties of codes to even, as since 2025; the
// first release rounded them away from zero).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bridge/io/number/dtype.h"

namespace bridge {

// Convert the bits of one scale of dtype F32, BF16, E8M0 (a byte b is 2^(b-127); 255 is NaN) or U8
// (the same, but 255 is 2^128, here infinity) to a float, and back. A scale that new_scale() made
// for this dtype is stored exactly; one that the dtype cannot hold is an internal error.
float load_scale(Dtype dtype, const std::byte* at);
void store_scale(Dtype dtype, float scale, std::byte* at);

// The operations in one instruction set. codes hold n * bits_of(format) / 8 bytes for n values;
// runs of FP4 and INT4 have an even n. The values are BF16, F16 or F32, little-endian, unaligned;
// other types, and spans that do not match, are internal errors. Thread-safe.
struct BlockCodec {
  // overflowed grows by the number of finite F32 products that are infinite in `to`.
  void (*dequantize)(Dtype format, std::span<const std::byte> codes, float scale, Dtype to,
                     std::span<std::byte> values, int64_t& overflowed);
  // Returns how many elements are unrepresentable; their codes are those of zero.
  int64_t (*find_codes)(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
                        std::span<std::byte> codes);
  // Returns the largest magnitude (0 for an empty span), or NaN if there is one, so that a caller
  // can refuse it.
  float (*amax)(Dtype from, std::span<const std::byte> values);
  // clipped grows by the number of values beyond the largest code by more than half a step (v /
  // scale beyond 464; FP4: 7; INT4: 7.5, below -8.5), which lose more than rounding. Rounding the
  // scale to nearest never causes this by itself.
  void (*quantize)(Dtype format, Dtype from, std::span<const std::byte> values, float scale,
                   std::span<std::byte> codes, int64_t& clipped);
};

const BlockCodec& scalar_block_codec();  // the reference
const BlockCodec& block_codec();         // the fastest this processor has, chosen once

// amax must be finite.
float new_scale(Dtype format, Dtype scale_dtype, float amax);

}  // namespace bridge
