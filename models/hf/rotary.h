// Rotary encodings as config.json describes them.
// Truth: transformers' modeling_rope_utils.py.
#pragma once

#include <optional>
#include <string>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

// transformers 5 writes rope_parameters, transformers 4 rope_theta and rope_scaling; where both say something, transformers
// reads the latter.
std::optional<Settings> hf_rope_section(const Settings& config);

// "default" where there is none.
std::string hf_rope_type(const std::optional<Settings>& rope);

// get_mscale of modeling_rope_utils.py.
double hf_yarn_magnitude(double factor, double weight);

// rope: hf_rope_section, or a part of it. default_base: where neither it nor config has rope_theta.
RotaryConfig hf_rotary_config(const Settings& config, const std::optional<Settings>& rope,
                              int64_t channels, double default_base);

}  // namespace models
