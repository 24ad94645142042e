#include "models/megatron/hybrid.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr std::string_view kPattern = "hybrid_layer_pattern";
constexpr char kMamba = 'M';

// GPTModel scales and numbers layers by these; a HybridModel does not, or counts blocks.
constexpr std::string_view kOfGptAlone[] = {"rope_scaling", "window_attn_skip_freq"};

using Layer = HybridBlocks::Layer;

bool is_attention(char block) {
  return block == '*' || block == kMamba;
}

bool is_mlp(char block) {
  return block == '-' || block == 'E';
}

// Of a model without Mamba-2.
std::vector<Layer> pairs_of(const Settings& model, std::string_view blocks) {
  std::vector<Layer> pairs;
  for (size_t i = 0; i < blocks.size(); i += 2) {
    const std::string_view pair = blocks.substr(i, 2);
    if (pair != "*-" && pair != "*E") {
      model.not_supported(
          kPattern, fmt::format("'{}' at {}: pairs *- and *E (attention, then an MLP) are computed",
                                bridge::printable(pair), i));
    }
    pairs.push_back({pair[0], pair[1]});
  }
  return pairs;
}

// Of a model with Mamba-2.
std::vector<Layer> single_blocks_of(const Settings& model, std::string_view blocks) {
  std::vector<Layer> layers;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const char block = blocks[i];
    if (!is_attention(block) && !is_mlp(block)) {
      model.not_supported(kPattern,
                          fmt::format("'{}' at {}: Mamba-2 (M), attention (*), MLPs (-) and "
                                      "experts (E) are computed",
                                      bridge::printable(blocks.substr(i, 1)), i));
    }
    layers.push_back(is_mlp(block) ? Layer{' ', block} : Layer{block, ' '});
  }
  return layers;
}

Layer depth_of(const Settings& model, std::string_view blocks) {
  if (blocks.size() == 1 && is_attention(blocks[0])) return {blocks[0], ' '};
  if (blocks.size() == 1 && is_mlp(blocks[0])) return {' ', blocks[0]};
  if (blocks.size() == 2 && is_attention(blocks[0]) && is_mlp(blocks[1])) {
    return {blocks[0], blocks[1]};
  }
  model.not_supported(
      kPattern, fmt::format("'/{}': depths of one block, or of attention or Mamba-2 before an MLP "
                            "or experts, are computed",
                            bridge::printable(blocks)));
}

void check_depths(const Settings& model, int64_t depths) {
  constexpr std::string_view kDepths = "mtp_num_layers";
  const int64_t count = model.integer_or(kDepths, depths);
  if (count != depths) {
    model.refuse(kDepths, fmt::format("{}, but {} has {} depths", count, kPattern, depths));
  }
}

bool is_of_mlp(std::string_view inner) {
  return inner.starts_with("mlp.") || inner.starts_with("pre_mlp_layernorm.");
}

}  // namespace

std::optional<HybridBlocks> hybrid_blocks(const Settings& model) {
  const std::string pattern = model.text_or(kPattern, model.text_or("hybrid_override_pattern", ""));
  if (pattern.empty()) {
    if (model.flag_or("is_hybrid_model", false)) {
      model.not_supported("is_hybrid_model", fmt::format("not computed without {}", kPattern));
    }
    return std::nullopt;
  }
  const size_t end_of_decoder = std::min(pattern.find('/'), pattern.size());
  std::string decoder = pattern.substr(0, end_of_decoder);
  std::erase(decoder, '|');  // the ends of pipeline stages
  HybridBlocks blocks;
  blocks.has_mamba_ = decoder.find(kMamba) != std::string::npos;
  blocks.layers_ = blocks.has_mamba_ ? single_blocks_of(model, decoder) : pairs_of(model, decoder);
  std::string_view rest = std::string_view(pattern).substr(end_of_decoder);
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const size_t end = std::min(rest.find('/'), rest.size());
    blocks.depths_.push_back(depth_of(model, rest.substr(0, end)));
    rest.remove_prefix(end);
  }
  if (blocks.has_mamba_ || !blocks.depths_.empty()) {
    check_depths(model, std::ssize(blocks.depths_));
  }
  for (const std::string_view name : kOfGptAlone) {
    const bool off = !model.has(name) || (name == "rope_scaling" && !model.flag_or(name, false));
    if (!off) model.not_supported(name, "not computed for a HybridModel");
  }
  return blocks;
}

int64_t HybridBlocks::in_layer(int64_t layer, std::string_view inner) const {
  if (has_mamba_) return layer;
  return 2 * layer + (is_of_mlp(inner) ? 1 : 0);
}

int64_t HybridBlocks::in_depth(int64_t depth, std::string_view inner) const {
  const bool has_attention = depths_.at(static_cast<size_t>(depth)).attention != ' ';
  return has_attention && is_of_mlp(inner) ? 1 : 0;
}

Mamba2 mamba_of(const Settings& model) {
  constexpr int64_t kExpansion = 2;  // MambaMixer's defaults, which no setting changes
  constexpr int64_t kKernel = 4;
  constexpr double kEps = 1e-5;
  Mamba2 mixer;
  mixer.head_dim = model.integer_or("mamba_head_dim", 64);
  if (mixer.head_dim < 1) model.refuse("mamba_head_dim", "not positive");
  mixer.heads = model.has("mamba_num_heads")
                    ? model.integer("mamba_num_heads")
                    : kExpansion * model.integer("hidden_size") / mixer.head_dim;
  mixer.groups = model.integer_or("mamba_num_groups", 8);
  mixer.state = model.integer_or("mamba_state_dim", 128);
  mixer.kernel = kKernel;
  mixer.eps = kEps;
  return mixer;
}

}  // namespace models
