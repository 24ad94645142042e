// Rotary encoding by several sections: a token has three positions, in time, height and width, and
// every pair of a head's channels turns by one of them. In text the three are equal, and the
// encoding is a plain one.
//   interleaved   of the first 3 * height pairs every second of three turns by height, of the first
//                 3 * width every third by width, and all others by time
//   in blocks     first the pairs that turn by time, then those by height, then those by width
// Truth: transformers' Qwen3_5TextRotaryEmbedding, as which Megatron-Bridge's models of Qwen3-VL
// and Qwen3.5 interleave; megatron-core's MultimodalRotaryEmbedding has blocks.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace models {

struct RotarySections {
  std::array<int64_t, 3> pairs = {};  // of time, height and width
  bool interleaved = true;

  // 0, 1 or 2: the position by which a pair turns.
  int64_t position_of(int64_t pair) const;
  // True if every one of so many pairs has its position.
  bool fits(int64_t count) const;
};

// pairs: a mrope_section; nullopt if it is not three numbers, none of them negative.
std::optional<RotarySections> rotary_sections(const std::vector<int64_t>& pairs, bool interleaved);

}  // namespace models
