#include "models/hf/qwen_vl.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "bridge/io/base/error.h"
#include "models/hf/decoder.h"
#include "models/hf/rotary.h"

namespace models {

ModelConfig qwen_vl_config(const Settings& config, double default_eps,
                           LayerConfig (*layer_of)(const Settings& text, int64_t layer)) {
  const std::optional<Settings> inner = config.section("text_config");
  ModelConfig model = hf_decoder_config(inner ? *inner : config, default_eps, layer_of);
  model.tied = config.flag_or("tie_word_embeddings", false);
  return model;
}

RotaryConfig qwen_vl_rotary(const Settings& text, int64_t channels, double default_base) {
  const std::optional<Settings> rope = hf_rope_section(text);
  const std::string type = hf_rope_type(rope);
  if (type != "default" && type != "mrope") {
    rope->not_supported("rope_type", fmt::format("'{}' is not computed with several sections",
                                                 bridge::printable(type)));
  }
  RotaryConfig rotary;
  rotary.channels = channels;
  const double top_base = text.real_or("rope_theta", default_base);
  rotary.base = rope ? rope->real_or("rope_theta", top_base) : top_base;
  return rotary;
}

}  // namespace models
