// Multi-head latent attention:
//   1. q = Wq x, or Wup norm(Wdown x); the first nope_dim channels of each head stay, the rope_dim
//      after them are turned
//   2. [latent, rotated key] = Wkv_down x; [key, value] of each head = Wkv_up norm(latent)
//   3. all heads share the rotated key: the key of a head is [its own nope_dim channels, the shared
//      rope_dim]
//   4. o = causal attention with scale softmax_factor / sqrt(nope_dim + rope_dim), or attention to
//      the tokens that an index chooses (token_index.h)
//   5. out = Wo o
// Truth: transformers' DeepseekV3Attention; DeepSeek-V3 inference/model.py (MLA).
#include <ATen/ops/cat.h>

#include <cmath>

#include "models/forward/attention.h"
#include "models/forward/linear.h"
#include "models/forward/norm.h"
#include "models/forward/token_index.h"

namespace models {
at::Tensor latent_attention(const LatentAttention& config, const NormConfig& norm,
                            const SectionWeights& weights, const at::Tensor& x,
                            ForwardState& state) {
  const NormConfig latent_norm{norm.kind, config.latent_eps};
  const RotaryTable table = state.rotary(config.rotary);
  const auto turned = [&](const at::Tensor& part) { return rotate(part, config.rotary, table); };

  // What the queries are projected from.
  const at::Tensor q_latent = config.q_rank == 0
                                  ? x
                                  : rms_norm(linear(x, weights, Role::kQDown),
                                             weights.get_f32(Role::kQDownNorm), latent_norm);
  const Role q_role = config.q_rank == 0 ? Role::kQ : Role::kQUp;
  const at::Tensor q = split_heads(linear(q_latent, weights, q_role), config.heads);
  const at::Tensor q_whole = at::cat(
      {q.narrow(-1, 0, config.nope_dim), turned(q.narrow(-1, config.nope_dim, config.rope_dim))},
      -1);

  const at::Tensor down = linear(x, weights, Role::kKvDown);
  const at::Tensor latent =
      rms_norm(down.narrow(-1, 0, config.kv_rank), weights.get_f32(Role::kKvDownNorm), latent_norm);
  const at::Tensor k_turned =
      turned(split_heads(down.narrow(-1, config.kv_rank, config.rope_dim), 1));
  const at::Tensor kv = split_heads(linear(latent, weights, Role::kKvUp), config.heads);
  const at::Tensor k =
      at::cat({kv.narrow(-1, 0, config.nope_dim), k_turned.expand({-1, config.heads, -1, -1})}, -1);
  const at::Tensor v = kv.narrow(-1, config.nope_dim, config.v_dim);

  const double scale =
      config.softmax_factor / std::sqrt(static_cast<double>(config.nope_dim + config.rope_dim));
  const at::Tensor sum =
      config.index.chooses()
          ? chosen_attention(q_whole, k, v, scale,
                             indexed_tokens(config, weights, x, q_latent, state),
                             config.index.chosen, state)
          : core_attention(q_whole, k, v, scale, /*window=*/0, /*cap=*/0, /*sink=*/{}, state);
  return linear(join_heads(sum), weights, Role::kO);
}

}  // namespace models
