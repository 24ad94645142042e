// The sizes of DeepSeek-V4's attention in data/forward_layers/deepseek_v4.safetensors.
#pragma once

#include "models/model/model_config.h"

namespace models {

inline CompressedAttention small_compressed_attention(double rotary_base) {
  CompressedAttention attention;
  attention.heads = 6;
  attention.head_dim = 16;
  attention.rope_dim = 4;
  attention.q_rank = 10;
  attention.window = 5;
  attention.output_groups = 3;
  attention.output_rank = 4;
  attention.rotary.layout = RotaryLayout::kPairs;
  attention.rotary.channels = 4;
  attention.rotary.base = rotary_base;
  return attention;
}

// Summaries of `ratio` tokens that overlap, of which an index chooses some.
inline void choose_summaries(CompressedAttention& attention, int64_t ratio) {
  attention.ratio = ratio;
  attention.overlapping = true;
  attention.index_heads = 9;
  attention.index_dim = 8;
  attention.index_chosen = 3;
}

}  // namespace models
