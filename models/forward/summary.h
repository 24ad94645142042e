// Summaries of tokens (compressed attention of DeepSeek-V4).
//
// Summary w of a run of r tokens, channel by channel:
//   1. every token t has a value v_t and a gate g_t; the bias of its place t mod r in its run is
//      added to the gate
//   2. plain: sum over the run's tokens of softmax(g)_t v_t
//   3. overlapping: a token has two values and gates, the halves of the channels. Its first half
//      counts in the run after its own, its second half in its own. The softmax is over 2r of them;
//      the first run has only its own r
//   4. tokens of an unfinished run have no summary; a token t sees summary w if w < (t + 1) / r, so
//      the last token of a run sees its summary
// Truth: DeepSeek-V4 inference/model.py (Compressor); Megatron-LM dev csa.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace models {

// values, gates: [B, S, d], overlapping [B, S, 2 d]; place_bias: [ratio, d or 2 d] fp32. Gives
// [B, S / ratio, d] in the values' type, neither normed nor turned.
at::Tensor summaries(const at::Tensor& values, const at::Tensor& gates,
                     const at::Tensor& place_bias, bool overlapping);

// Bool [last - first, last / ratio] for the tokens first .. last - 1: true if the run is finished.
at::Tensor finished_summaries(int64_t first, int64_t last, int64_t ratio, at::Device device);

}  // namespace models
