// What a training step reads of Megatron's configuration.
#pragma once

#include "models/weights/settings.h"
#include "models/weights/training_settings.h"

namespace models {

// Errors: kUnsupported for dropout, which a step here does not have, and for options of multi-token
// prediction that change its losses or gradients, and for recomputation that Megatron-LM refuses
// with hyper-connections; kBadInput for a setting that no step has. An absent setting has its
// class's default.
// Truth: megatron/core/transformer/transformer_config.py; multi_token_prediction.py of Megatron-LM
// main.
TrainingSettings megatron_training(const Settings& model);

}  // namespace models
