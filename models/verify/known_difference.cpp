#include "models/verify/known_difference.h"

#include <algorithm>
#include <variant>

namespace models {
namespace {

// True if all latent attention of the Megatron side has the epsilon of the other norms, and both
// sides share that epsilon.
bool has_one_epsilon(const ModelConfig& hf, const ModelConfig& megatron) {
  const auto is_of_norms = [&](const LayerConfig& layer) {
    const auto* latent = std::get_if<LatentAttention>(&layer.attention);
    return latent == nullptr || latent->latent_eps == megatron.norm.eps;
  };
  return hf.norm.eps == megatron.norm.eps &&
         std::all_of(megatron.layers.begin(), megatron.layers.end(), is_of_norms) &&
         std::all_of(megatron.mtp.begin(), megatron.mtp.end(), is_of_norms);
}

}  // namespace

std::vector<FieldDifference> take_known_differences(const ModelConfig& hf,
                                                    const ModelConfig& megatron,
                                                    std::vector<FieldDifference>& found) {
  if (!has_one_epsilon(hf, megatron)) return {};
  const auto first = std::stable_partition(
      found.begin(), found.end(),
      [](const FieldDifference& item) { return !item.field.ends_with(".latent_eps"); });
  std::vector<FieldDifference> known(first, found.end());
  found.erase(first, found.end());
  return known;
}

}  // namespace models
