#include "models/verify/known_difference.h"

#include <algorithm>
#include <iterator>
#include <string_view>
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

// True if the difference is one of long sequences, which Megatron-Core treats like short ones.
bool is_of_long_sequences(const ModelConfig& megatron, const FieldDifference& item) {
  constexpr std::string_view kNames[] = {".attention.chunk", ".attention.sharpening",
                                         ".attention.sharpened_from"};
  const bool named = std::any_of(std::begin(kNames), std::end(kNames),
                                 [&](auto name) { return item.field.ends_with(name); });
  return named &&
         std::all_of(megatron.layers.begin(), megatron.layers.end(), [](const LayerConfig& layer) {
           const auto* grouped = std::get_if<GroupedAttention>(&layer.attention);
           return grouped == nullptr || (grouped->chunk == 0 && grouped->sharpening == 0);
         });
}

// True if no time step of the Megatron side has a limit.
bool has_free_steps(const ModelConfig& megatron) {
  const auto is_free = [](const LayerConfig& layer) {
    const auto* mamba = std::get_if<Mamba2>(&layer.attention);
    return mamba == nullptr || mamba->least_step == 0;
  };
  return std::all_of(megatron.layers.begin(), megatron.layers.end(), is_free) &&
         std::all_of(megatron.mtp.begin(), megatron.mtp.end(), is_free);
}

}  // namespace

bool is_least_step(const FieldDifference& difference) {
  return difference.field.ends_with(".attention.least_step");
}

std::vector<FieldDifference> take_known_differences(const ModelConfig& hf,
                                                    const ModelConfig& megatron,
                                                    std::vector<FieldDifference>& found) {
  const bool one_epsilon = has_one_epsilon(hf, megatron);
  const bool free_steps = has_free_steps(megatron);
  const auto first =
      std::stable_partition(found.begin(), found.end(), [&](const FieldDifference& item) {
        const bool is_known = (one_epsilon && item.field.ends_with(".latent_eps")) ||
                              is_of_long_sequences(megatron, item) ||
                              (free_steps && is_least_step(item));
        return !is_known;
      });
  std::vector<FieldDifference> known(first, found.end());
  found.erase(first, found.end());
  return known;
}

}  // namespace models
