#include "models/megatron/hybrid.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr std::string_view kPattern = "hybrid_layer_pattern";

// GPTModel scales and numbers layers by these; a HybridModel does not, or counts blocks.
constexpr std::string_view kOfGptAlone[] = {"rope_scaling", "window_attn_skip_freq"};

}  // namespace

std::optional<std::vector<bool>> hybrid_layers(const Settings& model) {
  std::string pattern = model.text_or(kPattern, model.text_or("hybrid_override_pattern", ""));
  if (pattern.empty()) {
    if (model.flag_or("is_hybrid_model", false)) {
      model.not_supported("is_hybrid_model", fmt::format("not computed without {}", kPattern));
    }
    return std::nullopt;
  }
  std::erase(pattern, '|');  // the ends of pipeline stages
  std::vector<bool> experts;
  for (size_t i = 0; i < pattern.size(); i += 2) {
    const std::string_view pair = std::string_view(pattern).substr(i, 2);
    if (pair != "*-" && pair != "*E") {
      model.not_supported(
          kPattern, fmt::format("'{}' at {}: pairs *- and *E (attention, then an MLP) are computed",
                                bridge::printable(pair), i));
    }
    experts.push_back(pair == "*E");
  }
  for (const std::string_view name : kOfGptAlone) {
    const bool off = !model.has(name) || (name == "rope_scaling" && !model.flag_or(name, false));
    if (!off) model.not_supported(name, "not computed for a HybridModel");
  }
  return experts;
}

int64_t hybrid_block(int64_t layer, std::string_view inner) {
  const bool of_mlp = inner.starts_with("mlp.") || inner.starts_with("pre_mlp_layernorm.");
  return 2 * layer + (of_mlp ? 1 : 0);
}

}  // namespace models
