// Llama. config.json says whether attention and the feed-forward part have biases.
// Truth: transformers' configuration_llama.py, modeling_llama.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"llama"};
constexpr std::string_view kClasses[] = {"LlamaForCausalLM", "LlamaModel",
                                         "LlamaForSequenceClassification"};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {});
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 2048});
  return {attention,
          DenseMlp{config.integer("intermediate_size"), config.flag_or("mlp_bias", false)}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  hf_add_trained_depth(config, drop_mtp, model);
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kLlama = {.model_types = kModelTypes,
                                                  .classes = kClasses,
                                                  .config = config_of,
                                                  .places = hf_plain_places};

}  // namespace models
