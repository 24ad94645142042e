// Reads the canonical description of a model from Megatron's configuration, as Megatron-Core would
// run it. Megatron has no families of models: the options alone decide what a layer is, and nothing
// here asks for more. The options are the `model` section of run_config.yaml, whose fields are
// those of TransformerConfig, MLATransformerConfig and Megatron-Bridge's providers; without that
// file, they are the arguments in the common state. An absent field has the class's default.
// Truth: megatron/core/transformer/transformer_config.py, models/gpt/gpt_layer_specs.py,
// models/gpt/gpt_model.py, transformer/multi_latent_attention.py, transformer/moe/moe_utils.py
// (core 0.16.1); models/common/embeddings/yarn_rotary_pos_embedding.py.
#pragma once

#include <string_view>

#include "bridge/io/pickle/pickle.h"
#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// The model section of a run_config.yaml; the args of a common state. Errors: kBadInput.
Settings megatron_settings(std::string_view yaml);
Settings megatron_settings(const bridge::PickleNode& args);

// post_norms: the checkpoint has norms of the results of attention and of the MLP. Megatron-Core
// has no option for them: they are of other programs' modules, which no setting names. Errors:
// kBadInput "run_config.yaml: model: name: what", kUnsupported for what the forward pass does not
// compute.
ModelConfig megatron_model_config(const Settings& model, bool post_norms = false);

// Refuses settings that change the forward pass in ways that are not computed here (kUnsupported).
void check_computed(const Settings& model);

// The activation of the MLP. Errors: kUnsupported for one that is not computed, and for that of
// --quick-geglu, which experts alone have.
Activation activation_of(const Settings& model);

// The activation of --quick-geglu, x * sigmoid(1.702 x).
inline constexpr std::string_view kQuickGelu = "megatron.core.fusions.fused_bias_geglu.quick_gelu";
bool is_quick_gelu(const Settings& model);

// The feed-forward part of a layer. hashed: a table gives the experts of each token.
bool has_experts(const Settings& model, int64_t layer);
MixtureOfExperts experts_of(const Settings& model, bool hashed);
DenseMlp dense_of(const Settings& model);

// The value of experimental_attention_variant. Variants that are not computed are kUnsupported.
enum class AttentionVariant { kNone, kGatedDelta, kSparse, kDsv4Hybrid };
AttentionVariant attention_variant(const Settings& model);

// The attention of a layer of the variant dsv4_hybrid. Multi-token prediction depths count as
// layers after the last decoder layer.
CompressedAttention dsv4_hybrid_attention(const Settings& model, int64_t layer);

// The index of a layer of the variant dsa. number: of the layer or of the depth, counted from 1.
TokenIndex dsa_index(const Settings& model, int64_t number);

}  // namespace models
