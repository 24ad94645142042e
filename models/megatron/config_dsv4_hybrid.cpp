// Attention of Megatron-LM's experimental_attention_variant dsv4_hybrid (DeepSeek-V4), as its modules read the configuration:
// a head is of v_head_dim, a compressor is there from ratio 2 on, an indexer at ratio 4 unless csa_dense_mode; layers with a
// compressor turn by csa_compress_rotary_base with the scaling of rope_type, the others by rotary_base without.
// Truth: Megatron-LM dev, core/transformer/experimental_attention_variant/{deepseek_v4_hybrid_attention,csa}.py,
// transformer_config.py.
#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "models/megatron/config.h"

namespace models {
namespace {

constexpr int64_t kIndexedRatio = 4;

RotaryConfig rotary_of(const Settings& model, int64_t channels, bool compressed) {
  RotaryConfig rotary;
  rotary.layout = RotaryLayout::kPairs;
  rotary.channels = channels;
  if (!compressed) {
    rotary.base = model.real_or("rotary_base", 10000);
    return rotary;
  }
  rotary.base = model.real_or("csa_compress_rotary_base", 40000);
  const std::string type = model.text_or("rope_type", "yarn");
  if (type == "rope") return rotary;
  if (type != "yarn") {
    model.not_supported("rope_type", fmt::format("'{}' is not computed here (rope and yarn are)",
                                                 bridge::printable(type)));
  }
  rotary.scaling = RotaryScaling::kYarn;
  rotary.factor = model.real_or("rotary_scaling_factor", 40);
  rotary.original_positions = model.integer_or("original_max_position_embeddings", 4096);
  rotary.beta_fast = model.real_or("beta_fast", 32);
  rotary.beta_slow = model.real_or("beta_slow", 1);
  rotary.round_range = true;
  return rotary;
}

}  // namespace

CompressedAttention dsv4_hybrid_attention(const Settings& model, int64_t layer) {
  const std::vector<int64_t> ratios = model.integers("csa_compress_ratios");
  if (static_cast<size_t>(layer) >= ratios.size()) {
    model.refuse("csa_compress_ratios",
                 fmt::format("{} of them, none for layer {}", ratios.size(), layer));
  }
  CompressedAttention attention;
  attention.heads = model.integer("num_attention_heads");
  attention.head_dim = model.integer("v_head_dim");
  attention.rope_dim = model.integer_or("qk_pos_emb_head_dim", 64);
  attention.q_rank = model.integer("q_lora_rank");
  attention.window = model.integer_or("csa_window_size", 128);
  attention.output_groups = model.integer("o_groups");
  attention.output_rank = model.integer("o_lora_rank");
  const int64_t ratio = ratios[static_cast<size_t>(layer)];
  if (ratio > 1) {
    attention.ratio = ratio;
    attention.overlapping = ratio == kIndexedRatio;
    if (attention.overlapping && !model.flag_or("csa_dense_mode", false)) {
      attention.index_heads = model.integer("dsa_indexer_n_heads");
      attention.index_dim = model.integer("dsa_indexer_head_dim");
      attention.index_chosen = model.integer("dsa_indexer_topk");
    }
  }
  attention.rotary = rotary_of(model, attention.rope_dim, ratio > 1);
  return attention;
}

}  // namespace models
