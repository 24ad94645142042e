// Where Megatron-Core keeps the canonical tensors: the keys of torch_dist checkpoints, and the rows
// of a key's tensor that make a canonical tensor.
//
//   key      decoder.layers.3.X, or decoder.layers.X with all layers stacked on a first axis;
//            mtp.layers.0.X, mtp.layers.0.transformer_layer.X; all may have a prefix
//            ("language_model.")
//   experts  X.experts.experts.linear_fc1.weight with all experts on an axis (after the layers'),
//            or X.experts.experts.5.linear_fc1.weight
//   norms    modules in the local specification; part of the linear that follows in
//            TransformerEngine's
//            norms of results are modules of Megatron-Bridge (linear_proj.post_layernorm) and
//            mcore-bridge (post_self_attn_layernorm)
//   qkv      rows of linear_qkv, per key/value group: the queries of its heads, in gated attention
//            the gates of its heads, then its key, then its value
//   gdn      in_proj.weight.query, .key, .value, .z, .beta, .alpha and conv1d.weight.query, .key,
//            .value; the norm of a head's channels is stored minus one, like all other norms, where
//            norms are zero-centred
//   mamba    mixer.in_proj.weight.z, .x, .B, .C, .dt; mixer.conv1d.weight.x, .B, .C, and .bias
//   latent   fc1_latent_proj before the routed experts and fc2_latent_proj after them
//   hyper    the scales of a hyper-connection are three keys of one number each, or of one number a
//            layer where layers are stacked
//   fc1      up rows alone, without a gate; else gate rows, then up rows; or alternating blocks of
//            moe_mlp_glu_interleave_size rows
//            (experts only); or separate keys, weight_w and weight_v (singleton_local_shards)
//
// Truth: megatron/core/transformer/attention.py (get_query_key_value_tensors), mlp.py,
// moe/experts.py, multi_token_prediction.py, transformer_block.py (sharded_state_dict),
// gpt_layer_specs.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/model/model_config.h"
#include "models/model/tensor_id.h"
#include "models/weights/row_pattern.h"

namespace models {

// One way in which a canonical tensor may be stored.
struct MegatronPlace {
  std::string inner;         // the key after the layer, "self_attention.linear_qkv.weight"
  bool expert_axis = false;  // the expert's number is an index into an axis
  RowPattern rows = {};
  std::vector<std::string> then = {};  // keys of one number each, to append to that of `inner`
  bool without_one = false;            // the tensor is stored minus one
};

// True for the key of a norm of the result of attention or of an MLP, in either program's spelling.
bool is_post_norm(std::string_view key);

class MegatronLayout {
 public:
  // glu_interleave: the size of the blocks in which rows of experts' gate and up alternate; 0: they
  // do not alternate.
  MegatronLayout(const ModelConfig& config, int64_t glu_interleave)
      : config_(config), glu_interleave_(glu_interleave) {}

  // All places where the tensor may be stored; a checkpoint has one of them.
  std::vector<MegatronPlace> places(const TensorId& id) const;

 private:
  const LayerConfig& layer(const TensorId& id) const;
  std::vector<MegatronPlace> places_of_linear(const TensorId& id) const;
  static std::vector<MegatronPlace> places_of_mamba(const TensorId& id);
  std::vector<MegatronPlace> places_of_qkv(const TensorId& id) const;
  std::vector<MegatronPlace> places_of_gated(const TensorId& id) const;
  std::vector<MegatronPlace> places_of_expert(const TensorId& id) const;

  const ModelConfig& config_;
  int64_t glu_interleave_;
};

}  // namespace models
