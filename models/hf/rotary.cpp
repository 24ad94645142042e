#include "models/hf/rotary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bridge/io/base/error.h"

namespace models {

std::optional<Settings> hf_rope_section(const Settings& config) {
  std::optional<Settings> scaling = config.section("rope_scaling");
  if (scaling && !scaling->empty()) return scaling;
  return config.section("rope_parameters");
}

std::string hf_rope_type(const std::optional<Settings>& rope) {
  return rope ? rope->text_or("rope_type", rope->text_or("type", "default")) : "default";
}

double hf_yarn_magnitude(double factor, double weight) {
  return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

namespace {

// The setting beside the section takes precedence over the one in it.
int64_t original_positions(const Settings& config, const Settings& rope, int64_t absent) {
  constexpr std::string_view kName = "original_max_position_embeddings";
  for (const Settings* const settings : {&config, &rope}) {
    if (settings->has(kName)) return settings->integer(kName);
  }
  return config.integer_or("max_position_embeddings", absent);
}

// Reads a setting in which 0 counts as absent.
double turns(const Settings& rope, std::string_view name, double absent) {
  const double value = rope.real_or(name, absent);
  return value == 0 ? absent : value;
}

void read_yarn(const Settings& config, const Settings& rope, int64_t absent_positions,
               RotaryConfig& rotary) {
  rotary.scaling = RotaryScaling::kYarn;
  rotary.original_positions = original_positions(config, rope, absent_positions);
  const int64_t positions = config.integer_or("max_position_embeddings", absent_positions);
  rotary.factor = rope.has("factor")
                      ? rope.real("factor")
                      : static_cast<double>(positions) /
                            static_cast<double>(std::max<int64_t>(1, rotary.original_positions));
  rotary.beta_fast = turns(rope, "beta_fast", 32);
  rotary.beta_slow = turns(rope, "beta_slow", 1);
  rotary.round_range = rope.flag_or("truncate", true);
  const double mscale = rope.real_or("mscale", 0);
  const double mscale_all_dim = rope.real_or("mscale_all_dim", 0);
  if (rope.has("attention_factor")) {
    rotary.magnitude = rope.real("attention_factor");
  } else if (mscale != 0 && mscale_all_dim != 0) {
    rotary.magnitude =
        hf_yarn_magnitude(rotary.factor, mscale) / hf_yarn_magnitude(rotary.factor, mscale_all_dim);
  } else {
    rotary.magnitude = hf_yarn_magnitude(rotary.factor, 1);
  }
}

}  // namespace

RotaryConfig hf_rotary_config(const Settings& config, const std::optional<Settings>& rope,
                              int64_t channels, const HfRotaryDefaults& defaults) {
  if (rope && rope->has_sections()) {
    bridge::unsupported(
        fmt::format("{}: rotary encodings by kind of layer are not computed here", rope->where()));
  }
  const std::string type = hf_rope_type(rope);
  RotaryConfig rotary;
  rotary.channels = channels;
  const double top_base = config.real_or("rope_theta", defaults.base);
  rotary.base = rope ? rope->real_or("rope_theta", top_base) : top_base;
  if (type == "linear") {
    rotary.scaling = RotaryScaling::kLinear;
    rotary.factor = rope->real("factor");
  } else if (type == "llama3") {
    rotary.scaling = RotaryScaling::kLlama3;
    rotary.factor = rope->real("factor");
    rotary.low_freq_factor = rope->real("low_freq_factor");
    rotary.high_freq_factor = rope->real("high_freq_factor");
    rotary.original_positions = original_positions(config, *rope, defaults.positions);
  } else if (type == "yarn") {
    read_yarn(config, *rope, defaults.positions, rotary);
  } else if (type != "default") {
    rope->not_supported(
        "rope_type", fmt::format("'{}' is not computed here (default, linear, llama3 and yarn are)",
                                 bridge::printable(type)));
  }
  return rotary;
}

RotaryConfig hf_partial_rotary(const Settings& config, int64_t head_dim, double part,
                               const HfRotaryDefaults& defaults) {
  const std::optional<Settings> rope = hf_rope_section(config);
  const double top = config.real_or("partial_rotary_factor", part);
  const double own = rope ? rope->real_or("partial_rotary_factor", top) : top;
  return hf_rotary_config(config, rope, part_of(head_dim, own), defaults);
}

}  // namespace models
