// Rotary position encoding: pairs of a head's channels turn by an angle proportional to the token's
// position.
//
//   1. frequencies f_j = base^(-2j / channels), then scaled:
//        linear   f / factor
//        llama3   f / factor for wavelengths above original / low_freq_factor; f below
//                 original / high_freq_factor; between them a blend that is linear in
//                 original / wavelength
//        YaRN     f / factor where a channel turns less than beta_slow times in `original`
//                 positions; f where it turns more than beta_fast times; a ramp over the channels
//                 between; cosine and sine are multiplied by `magnitude`
//   2. angle = position * f, cosine and sine in fp32
//   3. (a, b) -> (a cos - b sin, b cos + a sin); a pair is (j, j + channels/2) or (2j, 2j + 1)
// Truth: transformers/modeling_rope_utils.py; Megatron-Core's rotary_pos_embedding.py and
// yarn_rotary_pos_embedding.py compute the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/model/model_config.h"
#include "models/model/rotary_sections.h"

namespace models {

// fp32, [channels / 2].
at::Tensor rotary_frequencies(const RotaryConfig& rotary);

struct RotaryTable {
  at::Tensor cos;  // [positions, channels / 2]
  at::Tensor sin;
};

// For positions 0 .. count - 1, of the given type, on the CPU.
RotaryTable rotary_table(const RotaryConfig& rotary, int64_t count,
                         const at::TensorOptions& options);

// The same for these positions, integers on the CPU: [count], or [count, channels / 2] for each
// pair.
RotaryTable rotary_table_at(const RotaryConfig& rotary, const at::Tensor& positions,
                            const at::TensorOptions& options);

// The positions of all pairs, [count, pairs], where a token has three: [3, count]. Error: kBadInput
// for sections of another number of pairs.
at::Tensor positions_of_pairs(const at::Tensor& positions, const RotarySections& sections,
                              int64_t pairs);

// x: [..., positions, head]. The first `channels` of a head turn; every channel keeps its place.
at::Tensor rotate(const at::Tensor& x, const RotaryConfig& rotary, const RotaryTable& table);

}  // namespace models
