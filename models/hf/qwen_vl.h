// What Qwen's models of images and text share with each other: the settings of the text model lie
// in text_config, or at the top in older releases of Qwen2.5-VL; the flag of tied embeddings is
// that of the whole. Only the text model runs.
// Truth: transformers' configuration_qwen2_5_vl.py, configuration_qwen3_vl.py.
#pragma once

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// Reads a model whose text model is a decoder like Llama's; the tower is the caller's. default_eps:
// the class's default of rms_norm_eps.
ModelConfig qwen_vl_config(const Settings& config, double default_eps,
                           LayerConfig (*layer_of)(const Settings& text, int64_t layer));

// Reads rotary encodings of whole heads by several sections: in text a token's positions are all
// the same, which makes it a plain encoding. "mrope" is what releases call it. Errors: kUnsupported
// for a scaled one. default_base: the class's rope_theta.
RotaryConfig qwen_vl_rotary(const Settings& text, int64_t channels, double default_base);

}  // namespace models
