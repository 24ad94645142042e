// MiMo-7B: Qwen2's layers without a window, and multi-token prediction depths in a list of the
// decoder's, each like its last layer. A depth projects [hidden, embedding], where the canonical
// tensor is for [embedding, hidden].
// Truth: MiMo's own configuration_mimo.py and modeling_mimo.py, which derive from Qwen2.
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"mimo"};
constexpr std::string_view kClasses[] = {"MiMoForCausalLM"};

constexpr HfName kDepth[] = {
    {Role::kMtpEmbeddingNorm, "token_layernorm.weight"},
    {Role::kMtpHiddenNorm, "hidden_layernorm.weight"},
    {Role::kMtpProjection, "input_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

LayerConfig layer_of(const Settings& config, int64_t /*layer*/) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 32});
  attention.qkv_bias = true;
  attention.output_bias = false;
  attention.rotary = hf_whole_rotary(config, attention.head_dim, {.positions = 32768});
  return {attention, DenseMlp{config.integer("intermediate_size"), false}};
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  if (config.flag_or("use_sliding_window", false)) {
    config.not_supported("use_sliding_window", "MiMo with a window is not computed here");
  }
  ModelConfig model = hf_decoder_config(config, 1e-6, layer_of);
  const int64_t depths = drop_mtp ? 0 : hf_layer_count(config, "num_nextn_predict_layers", 0);
  if (!model.layers.empty()) {
    model.mtp.assign(static_cast<size_t>(depths), model.layers.back());
  }
  return model;
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  std::vector<HfPlace> places = hf_decoder_places(model, id, kDepth, "mtp_layers");
  if (id.role == Role::kMtpProjection) {
    const int64_t hidden = model.config.hidden;
    places.at(0).columns = {.first = hidden, .count = 2 * hidden, .total = 2 * hidden};
  }
  return places;
}

std::vector<HfDepthStart> starts_of(const HfModel& model) {
  return {{model.prefix + "mtp_layers.", 0}};
}

}  // namespace

constexpr HfArchitecture architectures::kMiMo = {.model_types = kModelTypes,
                                                 .classes = kClasses,
                                                 .config = config_of,
                                                 .places = places_of,
                                                 .depths = {.starts = starts_of}};

}  // namespace models
