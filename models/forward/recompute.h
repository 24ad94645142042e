// Which parts of a training step's pass are run again in the backward pass instead of keeping what
// they computed (checkpoint.h).
//
//   none              all is kept
//   full, full:N      the decoder's layers N at a time (uniform; without a number 1), the last
//   chunk
//                     may be shorter; every multi-token prediction depth as a whole: projection,
//                     layer and last norm. With such depths N is 1
//   block:N           each of the first N decoder layers; multi-token prediction depths are kept
//   selective, selective:PART,...
//                     parts of every layer, those of depths too: core_attn (without a list),
//                     mlp (dense), moe (router, experts, shared ones), shared_experts
// Embeddings, the last norm of the decoder and the heads are always kept.
// Truth: megatron/core/transformer: transformer_block.py, multi_token_prediction.py
// (_checkpointed_forward), transformer_config.py (recompute_granularity, recompute_method,
// recompute_num_layers, recompute_modules).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/forward/checkpoint.h"
#include "models/model/model_config.h"

namespace models {

struct ForwardState;

struct RecomputedParts {
  bool core_attention = false;
  bool mlp = false;
  bool experts = false;
  bool shared_experts = false;
};

struct Recompute {
  enum class Method { kNone, kUniform, kBlock, kSelective };
  Method method = Method::kNone;
  int64_t layers = 1;     // of a chunk, or the first ones
  RecomputedParts parts;  // of kSelective

  bool of_depths() const { return method == Method::kUniform; }
};

// Parses one of the texts above. Errors: kUsage for another text; kUnsupported for parts of
// Megatron-Core whose outputs alone are discarded (layernorm, mla_up_proj, moe_act, gdn_norm_out,
// mhc).
Recompute parse_recompute(std::string_view text);
// Refuses chunks of several layers for a model with multi-token prediction (kUsage).
void check(const Recompute& recompute, const ModelConfig& config);

// Neighbouring decoder layers begin .. end - 1 that run together.
struct LayerChunk {
  int64_t begin = 0;
  int64_t end = 0;
  bool again = false;  // in the backward pass
};
// The layers begin .. end - 1 in order.
std::vector<LayerChunk> chunks_of(const Recompute& recompute, int64_t begin, int64_t end);

using StatePart = std::function<std::vector<at::Tensor>(ForwardState& state,
                                                        const std::vector<at::Tensor>& arguments)>;

// Runs a part of a pass on its state. If `again`, as a checkpoint: the padding mask becomes an
// argument and the losses of routers results, the indices of the part come back in the state, and
// the part works on a copy of the state that has no residual stream, which is an argument where it
// is needed. What the part refers to must then live until the backward pass is done.
// In both cases the gradients of an argument are added up within the part first and then handed out
// as one: gradients are the same bit for bit whether a part runs again or not.
std::vector<at::Tensor> run_part(bool again, const std::string& name, const StatePart& part,
                                 const std::vector<at::Tensor>& arguments, ForwardState& state);

}  // namespace models
