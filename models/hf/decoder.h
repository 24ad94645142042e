// What the architectures share that go back to Llama: layers of grouped attention and a gated
// feed-forward part, a norm before each, rotary encodings of whole heads. Each of their files says
// in what its class differs.
// Truth: transformers' modeling_llama.py and configuration_llama.py, from which the others are
// derived.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "models/hf/architecture.h"
#include "models/hf/names.h"

namespace models {

// Everything but multi-token prediction. default_eps: the class's rms_norm_eps.
ModelConfig hf_decoder_config(const Settings& config, double default_eps,
                              LayerConfig (*layer_of)(const Settings& config, int64_t layer));

// What a class says where config.json does not.
struct HfHeadDefaults {
  std::optional<int64_t> kv_heads = std::nullopt;  // nullopt: as many as heads of queries
  std::optional<int64_t> head_dim = std::nullopt;  // nullopt: an equal part of the hidden size
};

// Heads, and biases as attention_bias has them; no window and no rotation.
GroupedAttention hf_grouped_attention(const Settings& config, const HfHeadDefaults& defaults);

// Of whole heads: another part is refused.
RotaryConfig hf_whole_rotary(const Settings& config, int64_t channels, double default_base);

// The number of experts, by the class's own name for it or by num_local_experts.
int64_t hf_expert_count(const Settings& config, std::string_view name);

// Names that differ from the shared ones, or are not among them, come from `own`; {} is the
// expert's number. Multi-token prediction depths are further layers.
std::vector<HfPlace> hf_decoder_places(const HfModel& model, const TensorId& id,
                                       std::span<const HfName> own);
// Of an architecture that has no others.
std::vector<HfPlace> hf_plain_places(const HfModel& model, const TensorId& id);

}  // namespace models
