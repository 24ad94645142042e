// What a Hugging Face folder's tensors say of its model where config.json leaves it open: with what
// prefix the text model is stored, which way round the matrices of packed experts lie, whether a
// vision tower, an output layer and multi-token prediction are there at all.
// Truth: transformers' modeling_utils.py (base_model_prefix) and modeling_*.py; the released
// checkpoints' indexes.
#pragma once

#include "bridge/io/hf/hf_folder.h"
#include "models/hf/names.h"
#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// The model of config.json as far as the folder has tensors for it. settings: of the folder's
// config.json. drop_mtp and errors: as in hf_model_config().
ModelConfig hf_folder_config(const Settings& settings, const bridge::HfFolder& folder,
                             bool drop_mtp);

// The names under which the folder stores the model. config: what hf_folder_config() gives; must
// outlive the result. Errors: those of hf_architecture().
HfNames hf_folder_names(const Settings& settings, const ModelConfig& config,
                        const bridge::HfFolder& folder);

}  // namespace models
