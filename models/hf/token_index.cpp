#include "models/hf/token_index.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "models/hf/deepseek.h"

namespace models {
namespace {

constexpr double kIndexEps = 1e-6;  // of DeepseekV32Indexer's LayerNorm

}  // namespace

LatentAttention hf_with_index(const Settings& config, LatentAttention attention, int64_t heads,
                              RotaryLayout layout) {
  if (attention.q_rank == 0) config.not_supported("q_lora_rank", "the index reads such queries");
  if (attention.rotary.layout != RotaryLayout::kPairs) {
    config.not_supported("rope_interleave", "this class turns pairs whatever it says");
  }
  const bool pairs = layout == RotaryLayout::kPairs;
  if (config.flag_or("indexer_rope_interleave", pairs) != pairs) {
    config.not_supported("indexer_rope_interleave", "this class does not read it");
  }
  attention.index.heads = config.integer_or("index_n_heads", heads);
  attention.index.dim = config.integer_or("index_head_dim", 128);
  attention.index.chosen = config.integer_or("index_topk", 2048);
  attention.index.eps = kIndexEps;
  attention.index.layout = layout;
  return attention;
}

bool hf_has_experts(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("mlp_layer_types");
  if (types.empty()) return hf_is_after_dense(config, layer, 3);
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("mlp_layer_types",
                  fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  return types[static_cast<size_t>(layer)] == "sparse";
}

}  // namespace models
