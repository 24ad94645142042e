// Seed-OSS: Llama with biases on queries, keys and values (attention_bias). Those of the output
// (attention_out_bias) and of the MLP (mlp_bias) are settings of their own.
// Truth: transformers' configuration_seed_oss.py, modeling_seed_oss.py.
#include <optional>

#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"seed_oss"};
constexpr std::string_view kClasses[] = {"SeedOssForCausalLM", "SeedOssModel"};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  // null means an equal part of the hidden size, an absent setting the class's default.
  const std::optional<int64_t> absent =
      config.mentions("head_dim") ? std::nullopt : std::optional<int64_t>(128);
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8, .head_dim = absent});
  attention.qkv_bias = config.flag_or("attention_bias", !config.mentions("attention_bias"));
  attention.output_bias = config.flag_or("attention_out_bias", false);
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 524288});
  return {attention,
          DenseMlp{config.integer("intermediate_size"), config.flag_or("mlp_bias", false)}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kSeedOss = {.model_types = kModelTypes,
                                                    .classes = kClasses,
                                                    .config = config_of,
                                                    .places = hf_plain_places};

}  // namespace models
