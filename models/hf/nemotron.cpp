// Nemotron-4 and Minitron, dense: LayerNorm with weights stored minus one, squared ReLU without a
// gate, half of each head turns.
// Truth: transformers' configuration_nemotron.py, modeling_nemotron.py.
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"
#include "models/hf/rotary.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"nemotron"};
constexpr std::string_view kClasses[] = {"NemotronForCausalLM", "NemotronModel"};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {});
  attention.rotary = hf_partial_rotary(config, attention.head_dim, 0.5, {.positions = 4096});
  return {attention,
          DenseMlp{config.integer("intermediate_size"), config.flag_or("mlp_bias", false),
                   Activation::kSquaredRelu, /*gated=*/false}};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  hf_check_activation(config, "hidden_act", "relu2");
  const NormConfig norm{NormKind::kLayerZeroCentred, config.real_or("norm_eps", 1e-5)};
  return hf_decoder_config(config, norm, /*tied=*/false, layer_of);
}

}  // namespace

constexpr HfArchitecture architectures::kNemotron = {.model_types = kModelTypes,
                                                     .classes = kClasses,
                                                     .config = config_of,
                                                     .places = hf_plain_places};

}  // namespace models
