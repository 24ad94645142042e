#include "models/megatron/training.h"

#include <string_view>

namespace models {
namespace {

constexpr double kDefaultDropout = 0.1;
constexpr double kDefaultMtpLossScale = 0.1;

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
