// Reads rotary encodings from config.json.
// Truth: transformers' modeling_rope_utils.py.
#pragma once

#include <optional>
#include <string>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// The section of rotary settings. transformers 5 writes rope_parameters, transformers 4 rope_theta
// and rope_scaling; where both say something, transformers reads the latter.
std::optional<Settings> hf_rope_section(const Settings& config);

// The type that the section names; "default" without one.
std::string hf_rope_type(const std::optional<Settings>& rope);

// get_mscale in modeling_rope_utils.py.
double hf_yarn_magnitude(double factor, double weight);

// The class's defaults for settings that config.json lacks.
struct HfRotaryDefaults {
  double base = 10000;    // rope_theta
  int64_t positions = 0;  // max_position_embeddings
};

// rope: hf_rope_section or a part of it.
RotaryConfig hf_rotary_config(const Settings& config, const std::optional<Settings>& rope,
                              int64_t channels, const HfRotaryDefaults& defaults);

// Reads rotary encodings of a part of each head, its first channels; part: the class's default of
// partial_rotary_factor.
RotaryConfig hf_partial_rotary(const Settings& config, int64_t head_dim, double part,
                               const HfRotaryDefaults& defaults);

}  // namespace models
