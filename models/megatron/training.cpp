#include "models/megatron/training.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/model/model_config.h"

namespace models {
namespace {

constexpr double kDefaultDropout = 0.1;
constexpr double kDefaultMtpLossScale = 0.1;

// Layers of a block of hyper-connections that are computed again; nullopt: none are. Refuses
// combinations of recomputation and hyper-connections that Megatron-LM has no step for.
std::optional<int64_t> mhc_block_of(const Settings& model) {
  constexpr std::string_view kModules = "recompute_modules";
  const bool of_main = model.flag_or("enable_mhc_connections", false);
  const std::string granularity = model.text_or("recompute_granularity", "");
  if (of_main && granularity == "full") {
    model.not_supported("recompute_granularity",
                        "'full' with enable_mhc_connections: Megatron-LM main has no such step");
  }
  if (granularity != "selective") return std::nullopt;
  const std::vector<std::string> modules = model.texts(kModules);
  const auto asks_for = [&](std::string_view module) {
    return std::find(modules.begin(), modules.end(), module) != modules.end();
  };
  if (!asks_for("mhc")) return std::nullopt;
  if (!of_main && !model.flag_or("enable_hyper_connections", false)) {
    model.not_supported(kModules, "'mhc' without enable_mhc_connections");
  }
  if (asks_for("mlp")) model.not_supported(kModules, "'mhc' with 'mlp'");
  if (of_main && model.flag_or("fine_grained_activation_offloading", false)) {
    model.not_supported(kModules, "'mhc' with fine_grained_activation_offloading");
  }
  constexpr std::string_view kLayers = "mhc_recompute_layer_num";
  const int64_t layers = model.integer_or(kLayers, kMostLayers);
  if (layers < 1) model.refuse(kLayers, "not positive");
  return layers;
}

// Megatron-Bridge's models of Qwen3-VL and Qwen3.5 have a rotary embedding of their own.
bool interleaves(const Settings& model) {
  const std::string target = model.text_or("_target_", "");
  return target.find(".qwen3_vl_provider.") != std::string::npos ||
         target.find(".qwen35_vl_provider.") != std::string::npos;
}

std::optional<RotarySections> sections_of(const Settings& model) {
  constexpr std::string_view kSections = "mrope_section";
  if (model.text_or("position_embedding_type", "learned_absolute") != "mrope") return std::nullopt;
  if (!model.has(kSections)) return std::nullopt;
  const std::optional<RotarySections> sections =
      rotary_sections(model.integers(kSections), interleaves(model));
  if (!sections) model.refuse(kSections, "not three numbers of pairs");
  return sections;
}

}  // namespace

TrainingSettings megatron_training(const Settings& model) {
  for (const std::string_view name : {"hidden_dropout", "attention_dropout"}) {
    if (model.real_or(name, kDefaultDropout) != 0) {
      model.not_supported(name, "a training step is computed without dropout, so it must be 0");
    }
  }
  for (const std::string_view name : {"mtp_detach_heads", "mtp_hsm"}) {
    if (model.flag_or(name, false)) model.not_supported(name, "not computed in a training step");
  }
  TrainingSettings settings;
  settings.mhc_block = mhc_block_of(model);
  settings.sections = sections_of(model);
  settings.mtp_loss_scale = model.real_or("mtp_loss_scaling_factor", kDefaultMtpLossScale);
  // A list has an entry for each of several losses at once.
  constexpr std::string_view kRouterLoss = "moe_router_load_balancing_type";
  if (!model.is_list(kRouterLoss)) {
    settings.router_loss = model.text_or(kRouterLoss, "aux_loss");
    settings.router_loss_weight = model.real_or("moe_aux_loss_coeff", 0);
  }
  return settings;
}

}  // namespace models
