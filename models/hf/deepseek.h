// What DeepSeek's classes share with those derived from them: latent attention, experts after the
// first layers, of which a router with sigmoid scores and a bias chooses, and multi-token
// prediction depths as further layers, each with copies of the embedding and of the output layer.
// Truth: transformers' modeling_deepseek_v3.py, from which the others are derived; the index of
// DeepSeek-V3's release.
#pragma once

#include <cstdint>
#include <vector>

#include "models/hf/architecture.h"

namespace models {

// The class's defaults for settings that config.json lacks.
struct HfLatentDefaults {
  int64_t q_rank;
  int64_t kv_rank = 512;
  int64_t nope_dim = 128;
  int64_t rope_dim = 64;
  int64_t v_dim = 128;
  int64_t positions;  // max_position_embeddings
};

struct HfExpertDefaults {
  int64_t experts = 0;
  int64_t chosen = 8;
  int64_t width = 0;
  int64_t groups = 1;
  int64_t chosen_groups = 1;
  double factor = 1;
};

// Refuses biases. The norms of the latent vectors keep their own epsilon, whatever rms_norm_eps
// says.
LatentAttention hf_latent_attention(const Settings& config, const HfLatentDefaults& defaults);

// Reads a router with sigmoid scores, groups, and a bias that affects only the choice, and the
// sizes of the experts.
MixtureOfExperts hf_biased_experts(const Settings& config, const HfExpertDefaults& defaults);

// True if first_k_dense_replace leaves the layer experts; absent: the class's default.
bool hf_is_after_dense(const Settings& config, int64_t layer, int64_t absent);

// The same of classes that read mlp_layer_types; first_k_dense_replace counts where it is absent.
bool hf_is_sparse(const Settings& config, int64_t layer, int64_t absent);

// As many depths of this kind as num_nextn_predict_layers counts; drop_mtp: none.
void hf_add_further_layers(const Settings& config, bool drop_mtp, const LayerConfig& depth,
                           ModelConfig& model);

std::vector<HfPlace> hf_deepseek_places(const HfModel& model, const TensorId& id);
std::vector<HfDepthStart> hf_further_layers(const HfModel& model);

constexpr HfDepths kHfFurtherLayers = {hf_further_layers, "embed_tokens.weight",
                                       "shared_head.head.weight"};

}  // namespace models
