// What the architectures derived from Llama share: layers of grouped attention and a gated
// feed-forward part, a norm before each, rotary encodings of whole heads. The file of each
// architecture says how its class differs.
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
#include "models/hf/rotary.h"

namespace models {

// Reads everything but multi-token prediction. default_eps: the class's default of rms_norm_eps.
ModelConfig hf_decoder_config(const Settings& config, double default_eps,
                              LayerConfig (*layer_of)(const Settings& config, int64_t layer));

// The same for a class with other norms or another activation. tied: the class's default of
// tie_word_embeddings.
ModelConfig hf_decoder_config(const Settings& config, const NormConfig& norm, bool tied,
                              LayerConfig (*layer_of)(const Settings& config, int64_t layer));

// Refuses another activation than `computed`, which is the class's default of the setting `name`.
void hf_check_activation(const Settings& config, std::string_view name, std::string_view computed);

// The class's defaults for settings that config.json lacks.
struct HfHeadDefaults {
  std::optional<int64_t> kv_heads = std::nullopt;  // nullopt: one per query head
  std::optional<int64_t> head_dim = std::nullopt;  // nullopt: hidden size / query heads
};

// Adds the multi-token prediction that training gave a model whose class has none: as many depths
// as num_nextn_predict_layers counts, each like the last layer. More than one has no names and is
// kUnsupported; drop_mtp: none.
void hf_add_trained_depth(const Settings& config, bool drop_mtp, ModelConfig& model);

// Reads the heads, and the biases from attention_bias; sets no window and no rotation.
GroupedAttention hf_grouped_attention(const Settings& config, const HfHeadDefaults& defaults);

// Returns whether this layer has a window, as layer_types says; `absent` is returned if config.json
// has no such list. Errors: kBadInput for a list that is too short, kUnsupported for another kind
// of layer.
bool hf_slides(const Settings& config, int64_t layer, bool absent);

// The rows of a role in a tensor that holds queries, keys and values one after the other; all rows
// for another role.
RowPattern part_of_qkv(const GroupedAttention& attention, Role role);

// Reads rotary encodings of whole heads and refuses partial ones.
RotaryConfig hf_whole_rotary(const Settings& config, int64_t channels,
                             const HfRotaryDefaults& defaults);

// The number of labels of a classifier, which config.json names in id2label; 0: a language model.
// Its head, score.weight, is tied to nothing.
int64_t hf_label_count(const Settings& config);

// The number of experts, read from `name`, the class's own setting, or else from num_local_experts;
// absent: the class's default.
int64_t hf_expert_count(const Settings& config, std::string_view name, int64_t absent);

// `own` lists the names that differ from the shared ones or are not among them, one or more for a
// role; {} stands for the number of the expert. Experts may also lie in one tensor. Where `own`
// names what multi-token prediction depths add to a layer, they are elements of the list `depths`,
// or further layers if that is empty; else they are spelled as in Qwen3-Next.
std::vector<HfPlace> hf_decoder_places(const HfModel& model, const TensorId& id,
                                       std::span<const HfName> own, std::string_view depths = {});
// The places for an architecture without names of its own.
std::vector<HfPlace> hf_plain_places(const HfModel& model, const TensorId& id);

}  // namespace models
