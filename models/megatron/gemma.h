// What the modules of Megatron-Bridge's Gemma 2 and Gemma 3 compute otherwise than Megatron-Core's.
// Megatron-Core has no such option; the providers have fields of their own, by which they are
// known: query_pre_attn_scalar (Gemma 2), interleaved_attn_pattern (Gemma 3).
//
//             Gemma 2                               Gemma 3
//   window    every other layer, from the first     all but every Nth layer, N the sum of the
//                                                   pattern
//   rotation  one                                   two bases, of layers with and without a window;
//                                                   without, rope_scaling_factor divides
//                                                   frequencies
//   scores    / sqrt(query_pre_attn_scalar),        * softmax_scale
//             soft cap
//   logits    soft cap                              as they are
//   embedding * sqrt(hidden_size)                   * sqrt(hidden_size)
// Truth: Megatron-Bridge models/gemma/gemma2_provider.py, gemma3_provider.py.
#pragma once

#include <cstdint>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

enum class Gemma { kNone, kGemma2, kGemma3 };

// Errors: kUnsupported for another Gemma's provider.
Gemma gemma_of(const Settings& model);

// Overrides what this layer's attention has of its own; kNone: nothing.
void read_gemma_attention(Gemma gemma, const Settings& model, int64_t layer,
                          GroupedAttention& attention);

// The same for the model's embedding and logits. config.hidden must be set.
void read_gemma_ends(Gemma gemma, const Settings& model, ModelConfig& config);

}  // namespace models
