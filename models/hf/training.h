// What a training step reads of config.json.
#pragma once

#include "models/weights/settings.h"
#include "models/weights/training_settings.h"

namespace models {

// The losses of multi-token prediction and of routers have no settings here: how a model was
// trained is not part of its configuration. Errors: kUnsupported for dropout and for noise in
// routers, which a step here does not have; kBadInput for sections of the rotary encoding that are
// none.
// Truth: transformers' configuration_*.py, modeling_qwen2_5_vl.py, modeling_qwen3_vl.py,
// modeling_qwen3_5.py.
TrainingSettings hf_training(const Settings& config);

}  // namespace models
