#include "models/hf/folder_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/vision.h"

namespace models {
namespace {

using bridge::HfTensor;

// The tensors of a bare model and of DeepSeek-V4's releases have no "model." in front; the text
// part of a vision-language model is a module of its own.
std::string prefix_of(const bridge::HfFolder& folder) {
  for (const std::string_view prefix :
       {"", "model.language_model.", "language_model.", "backbone."}) {
    for (const std::string_view embedding :
         {"embed_tokens.weight", "embed.weight", "word_embeddings.weight", "embeddings.weight"}) {
      if (folder.find(fmt::format("{}{}", prefix, embedding)) != nullptr)
        return std::string(prefix);
    }
  }
  return "model.";
}

// Whether the experts' matrices are stored [in, out], where they lie in one tensor each of gate and
// up and of down. The shapes say it of at least one of the two: the former is square where the
// hidden size is twice the experts' width, the latter where both are equal.
bool has_transposed_experts(const bridge::HfFolder& folder, const ModelConfig& config,
                            const std::string& prefix) {
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const auto* const mlp = std::get_if<MixtureOfExperts>(&config.layers[layer].mlp);
    if (mlp == nullptr) continue;
    const auto has_shape = [&](std::string_view name, int64_t rows, int64_t columns) {
      const HfTensor* const tensor =
          folder.find(fmt::format("{}layers.{}.mlp.experts.{}", prefix, layer, name));
      const bridge::Shape turned = {mlp->router.experts, columns, rows};
      return tensor != nullptr && rows != columns && tensor->shape == turned;
    };
    if (has_shape("gate_up_proj", 2 * mlp->width, config.hidden)) return true;
    if (has_shape("down_proj", config.hidden, mlp->width)) return true;
  }
  return false;
}

bool has_output_layer(const bridge::HfFolder& folder) {
  return std::any_of(folder.tensors.begin(), folder.tensors.end(), [](const HfTensor& tensor) {
    return tensor.name.ends_with("lm_head.weight") || tensor.name == "head.weight";
  });
}

}  // namespace

ModelConfig hf_folder_config(const Settings& settings, const bridge::HfFolder& folder,
                             bool drop_mtp) {
  ModelConfig model = hf_model_config(settings, drop_mtp);
  // A text model that was cut out of a multimodal one may have kept its configuration.
  const bool has_tower =
      std::any_of(folder.tensors.begin(), folder.tensors.end(),
                  [](const HfTensor& tensor) { return is_hf_vision_name(tensor.name); });
  if (!has_tower) model.vision.reset();
  // A bare model has no output layer. Its embedding stands in for one, as in its conversion.
  model.tied = model.tied || (model.labels == 0 && !has_output_layer(folder));
  const HfArchitecture& architecture = hf_architecture(settings);
  if (drop_mtp || architecture.settle_mtp == nullptr) return model;
  const HfNames names(architecture, model, prefix_of(folder));
  const bool has_depths =
      std::any_of(folder.tensors.begin(), folder.tensors.end(),
                  [&](const HfTensor& tensor) { return names.is_mtp(tensor.name); });
  architecture.settle_mtp(model, has_depths);
  return model;
}

HfNames hf_folder_names(const Settings& settings, const ModelConfig& config,
                        const bridge::HfFolder& folder) {
  const HfArchitecture& architecture = hf_architecture(settings);
  const std::string prefix = prefix_of(folder);
  return {architecture, config, prefix,
          architecture.turns_experts && has_transposed_experts(folder, config, prefix)};
}

}  // namespace models
