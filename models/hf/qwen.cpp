#include "models/hf/qwen.h"

#include <algorithm>
#include <vector>

#include "models/hf/decoder.h"

namespace models {
namespace {

bool layer_slides(const Settings& config, int64_t layer) {
  const bool absent = layer >= config.integer_or("max_window_layers", 28);
  const bool slides = hf_slides(config, layer, absent);
  if (slides && !config.texts("layer_types").empty() && qwen_window(config) == 0) {
    config.refuse("layer_types", "some slide, but there is no window");
  }
  return slides;
}

}  // namespace

int64_t qwen_window(const Settings& config) {
  if (!config.flag_or("use_sliding_window", false)) return 0;
  return config.integer_or("sliding_window", config.mentions("sliding_window") ? 0 : 4096);
}

int64_t qwen_window_of(const Settings& config, int64_t layer) {
  return layer_slides(config, layer) ? qwen_window(config) : 0;
}

bool qwen_has_experts(const Settings& config, int64_t layer) {
  const std::vector<int64_t> dense = config.integers("mlp_only_layers");
  const int64_t step = config.integer_or("decoder_sparse_step", 1);
  if (step < 1) config.refuse("decoder_sparse_step", "not positive");
  return std::find(dense.begin(), dense.end(), layer) == dense.end() && (layer + 1) % step == 0;
}

}  // namespace models
