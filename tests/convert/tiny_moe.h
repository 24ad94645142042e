// Tiny mixtures of experts: a DeepSeek-V3 with any number of multi-token prediction depths, and a
// Qwen3-MoE in FP8.
//
// Names and shapes are those of transformers/models/deepseek_v3 and qwen3_moe and of the releases
// (FP8: X.weight in F8_E4M3 with X.weight_scale_inv). This file repeats them, so that the mapping
// tables are not checked against themselves.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/convert/fixtures.h"

namespace bridge {

using Bytes = std::function<std::string(size_t)>;

// Collects tensors in the order of their names' first use.
class TensorMaker {
 public:
  explicit TensorMaker(Bytes bytes) : bytes_(std::move(bytes)) {}

  void add(const std::string& name, Shape shape, Dtype dtype = Dtype::kBF16) {
    const auto size = static_cast<size_t>(byte_size(dtype, shape));
    tensors_.push_back({name, dtype, std::move(shape), bytes_(size)});
  }
  void repeat(const std::string& name, const std::string& original) {
    const auto it = std::find_if(tensors_.begin(), tensors_.end(),
                                 [&](const NamedTensor& t) { return t.name == original; });
    NamedTensor copy = *it;
    copy.name = name;
    tensors_.push_back(std::move(copy));
  }
  // Adds blocks of `block` x `block`. Scales are small and positive, except the last one, which is
  // NaN.
  void add_fp8(const std::string& name, const Shape& shape, int64_t block) {
    add(name, shape, Dtype::kF8E4M3);
    const Shape grid = {(shape[0] + block - 1) / block, (shape[1] + block - 1) / block};
    std::string scales = bytes_(static_cast<size_t>(4 * element_count(grid)));
    for (size_t i = 3; i < scales.size(); i += 4) scales[i] = '\x3c';
    scales.replace(scales.size() - 2, 2, "\xc0\x7f");
    tensors_.push_back({name + "_scale_inv", Dtype::kF32, grid, std::move(scales)});
  }

  std::vector<NamedTensor> take() { return std::move(tensors_); }

 private:
  Bytes bytes_;
  std::vector<NamedTensor> tensors_;
};

// --- DeepSeek-V3: a dense layer, one with experts, then the MTP depths ---------------------------

constexpr int kDeepSeekLayers = 2;

inline nlohmann::ordered_json deepseek_config(int depths) {
  return {{"architectures", {"DeepseekV3ForCausalLM"}},
          {"model_type", "deepseek_v3"},
          {"vocab_size", 10},
          {"hidden_size", 8},
          {"intermediate_size", 6},
          {"moe_intermediate_size", 4},
          {"num_hidden_layers", kDeepSeekLayers},
          {"first_k_dense_replace", 1},
          {"num_nextn_predict_layers", depths},
          {"num_attention_heads", 2},
          {"n_routed_experts", 2},
          {"n_shared_experts", 1},
          {"num_experts_per_tok", 1},
          {"q_lora_rank", 6},
          {"kv_lora_rank", 4},
          {"qk_nope_head_dim", 4},
          {"qk_rope_head_dim", 2},
          {"v_head_dim", 3},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

inline void add_deepseek_layer(TensorMaker& make, int number) {
  const std::string layer = "model.layers." + std::to_string(number) + ".";
  make.add(layer + "input_layernorm.weight", {8});
  make.add(layer + "self_attn.q_a_proj.weight", {6, 8});
  make.add(layer + "self_attn.q_a_layernorm.weight", {6});
  make.add(layer + "self_attn.q_b_proj.weight", {2 * (4 + 2), 6});
  make.add(layer + "self_attn.kv_a_proj_with_mqa.weight", {4 + 2, 8});
  make.add(layer + "self_attn.kv_a_layernorm.weight", {4});
  make.add(layer + "self_attn.kv_b_proj.weight", {2 * (4 + 3), 4});
  make.add(layer + "self_attn.o_proj.weight", {8, 2 * 3});
  make.add(layer + "post_attention_layernorm.weight", {8});
  const auto add_mlp = [&](const std::string& mlp, int64_t ffn) {
    make.add(mlp + "gate_proj.weight", {ffn, 8});
    make.add(mlp + "up_proj.weight", {ffn, 8});
    make.add(mlp + "down_proj.weight", {8, ffn});
  };
  if (number == 0) {
    add_mlp(layer + "mlp.", 6);
    return;
  }
  make.add(layer + "mlp.gate.weight", {2, 8});
  make.add(layer + "mlp.gate.e_score_correction_bias", {2}, Dtype::kF32);
  add_mlp(layer + "mlp.experts.0.", 4);
  add_mlp(layer + "mlp.experts.1.", 4);
  add_mlp(layer + "mlp.shared_experts.", 4);
}

inline std::vector<NamedTensor> deepseek_tensors(int depths) {
  TensorMaker make(random_bytes(5));
  make.add("model.embed_tokens.weight", {10, 8});
  make.add("lm_head.weight", {10, 8});
  make.add("model.norm.weight", {8});
  for (int l = 0; l < kDeepSeekLayers; ++l) add_deepseek_layer(make, l);
  for (int depth = 0; depth < depths; ++depth) {
    const int number = kDeepSeekLayers + depth;
    const std::string layer = "model.layers." + std::to_string(number) + ".";
    add_deepseek_layer(make, number);
    make.add(layer + "eh_proj.weight", {8, 16});
    make.add(layer + "enorm.weight", {8});
    make.add(layer + "hnorm.weight", {8});
    make.add(layer + "shared_head.norm.weight", {8});
    make.repeat(layer + "embed_tokens.weight", "model.embed_tokens.weight");
    make.repeat(layer + "shared_head.head.weight", "lm_head.weight");
  }
  return make.take();
}

// --- Qwen3-MoE: one layer of two experts, FP8 in blocks of 3 x 3 ---------------------------------

inline void write_qwen3_moe_fp8(const Path& folder) {
  const nlohmann::ordered_json config = {
      {"architectures", {"Qwen3MoeForCausalLM"}},
      {"model_type", "qwen3_moe"},
      {"vocab_size", 10},
      {"hidden_size", 8},
      {"intermediate_size", 6},
      {"moe_intermediate_size", 4},
      {"num_hidden_layers", 1},
      {"num_attention_heads", 2},
      {"num_key_value_heads", 1},
      {"head_dim", 4},
      {"num_experts", 2},
      {"num_experts_per_tok", 1},
      {"tie_word_embeddings", true},
      {"torch_dtype", "bfloat16"},
      {"quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {3, 3}}}}};
  TensorMaker make(random_bytes(6));
  const std::string layer = "model.layers.0.";
  make.add("model.embed_tokens.weight", {10, 8});
  make.add(layer + "input_layernorm.weight", {8});
  make.add(layer + "post_attention_layernorm.weight", {8});
  make.add_fp8(layer + "self_attn.q_proj.weight", {8, 8}, 3);
  make.add_fp8(layer + "self_attn.k_proj.weight", {4, 8}, 3);
  make.add_fp8(layer + "self_attn.v_proj.weight", {4, 8}, 3);
  make.add_fp8(layer + "self_attn.o_proj.weight", {8, 8}, 3);
  make.add(layer + "self_attn.q_norm.weight", {4});
  make.add(layer + "self_attn.k_norm.weight", {4});
  make.add(layer + "mlp.gate.weight", {2, 8});
  for (const char* expert : {"0", "1"}) {
    const std::string mlp = layer + "mlp.experts." + expert + ".";
    make.add_fp8(mlp + "gate_proj.weight", {4, 8}, 3);
    make.add_fp8(mlp + "up_proj.weight", {4, 8}, 3);
    make.add_fp8(mlp + "down_proj.weight", {8, 4}, 3);
  }
  make.add("model.norm.weight", {8});
  write_hf_folder(folder, config, make.take(), 2);
}

}  // namespace bridge
