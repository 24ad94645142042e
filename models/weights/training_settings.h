// What a training step reads of a checkpoint's configuration and a forward pass does not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "models/model/rotary_sections.h"

namespace models {

struct TrainingSettings {
  // The factor of the mean over the depths of multi-token prediction losses; nullopt: the
  // checkpoint has no setting of it.
  std::optional<double> mtp_loss_scale;
  // Megatron-Core's moe_router_load_balancing_type and moe_aux_loss_coeff; nullopt: the checkpoint
  // has no such settings.
  std::optional<std::string> router_loss;
  double router_loss_weight = 0;
  // Layers of a block whose hyper-connections the backward pass computes again, where Megatron-LM's
  // recompute_modules have mhc; kMostLayers: all are one block; nullopt: nothing is.
  std::optional<int64_t> mhc_block = std::nullopt;
  // How tokens with three positions turn; nullopt: the model has one position for each.
  std::optional<RotarySections> sections = std::nullopt;
};

}  // namespace models
