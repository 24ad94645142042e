// The index of Megatron-Core's experimental_attention_variant dsa, as its modules read the
// configuration:
//   - layers count from 1; from layer max(dsa_indexer_skip_topk_offset, 1) on, every
//     dsa_indexer_topk_freq-th has an index, which those between them share; the layers before have
//     one each. Multi-token prediction depths count from 1 again
//   - its keys are normed with the epsilon of the other norms unless it has one of its own
// Whether q and k are rotated by a Hadamard matrix (dsa_indexer_rotate_activation) changes no
// score.
// Truth: core 0.19.2, transformer/experimental_attention_variant/dsa.py, transformer_config.py.
#include <algorithm>

#include "models/megatron/config.h"

namespace models {
namespace {

bool shares(const Settings& model, int64_t number) {
  const int64_t every = model.integer_or("dsa_indexer_topk_freq", 1);
  if (every < 1) model.refuse("dsa_indexer_topk_freq", "not positive");
  const int64_t offset = model.integer_or("dsa_indexer_skip_topk_offset", 0);
  if (offset < 0) model.refuse("dsa_indexer_skip_topk_offset", "negative");
  return std::max<int64_t>(number - std::max<int64_t>(offset, 1), 0) % every != 0;
}

}  // namespace

TokenIndex dsa_index(const Settings& model, int64_t number) {
  if (!model.flag_or("dsa_indexer_scoring_relu", true)) {
    model.not_supported("dsa_indexer_scoring_relu", "scores below 0 are not computed here");
  }
  TokenIndex index;
  index.chosen = model.integer("dsa_indexer_topk");
  index.shared = shares(model, number);
  if (index.shared) return index;
  index.heads = model.integer("dsa_indexer_n_heads");
  index.dim = model.integer("dsa_indexer_head_dim");
  index.eps = model.real_or("dsa_indexer_k_norm_epsilon", model.real_or("layernorm_epsilon", 1e-5));
  if (model.flag_or("dsa_indexer_rope_interleaved", false)) index.layout = RotaryLayout::kPairs;
  return index;
}

}  // namespace models
