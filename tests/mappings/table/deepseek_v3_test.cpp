// Tests the table of DeepSeek-V3 against its release, tensor by tensor (data/keys: names, dtypes
// and shapes), and the variants that configurations can request.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "mappings/binding/binding.h"
#include "mappings/table/table.h"
#include "tests/mappings/table/configs.h"
#include "tests/mappings/table/listed_tensors.h"
#include "tests/mappings/table/small_models.h"

namespace mappings {
namespace {

// Every tensor of the release belongs to a row, is the scales of a row, or is dropped; nothing is
// missing.
TEST(DeepSeekV3, FullSizeNamesAndShapes) {
  std::map<std::string, ListedTensor> left = listed_tensors("deepseek_v3.tsv.gz");
  ASSERT_EQ(left.size(), 91'991u);
  const Binding binding = bound(Json::parse(kDeepSeekV3));
  ASSERT_EQ(binding.block_schemes().size(), 1u);
  const BlockScheme& scheme = binding.block_schemes()[0];
  int64_t quantized = 0;
  const auto take = [&](const std::string& name, const bridge::Shape& shape) {
    const auto it = left.find(name);
    EXPECT_NE(it, left.end()) << name;
    if (it == left.end()) return std::string();
    EXPECT_EQ(it->second.shape, shape) << name;
    std::string dtype = it->second.dtype;
    left.erase(it);
    return dtype;
  };
  std::map<std::string, bridge::Shape> rows;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    for (const HfTensorSpec& spec : tensor.hf) {
      rows[spec.name] = spec.shape;
      const std::string dtype = take(spec.name, spec.shape);
      if (dtype == "F8_E4M3") {
        ++quantized;
        EXPECT_EQ(take(*scheme.scale_name(spec.name), scheme.scale_shape(spec.shape)), "F32");
      } else {
        EXPECT_EQ(dtype, tensor.row->keep == bridge::Dtype::kF32 ? "F32" : "BF16") << spec.name;
      }
    }
  });
  EXPECT_EQ(quantized, 45'808);
  int64_t dropped = 0;
  binding.for_each_drop(0, [&](const DroppedTensor& tensor) {
    if (!tensor.drop->regenerate) return;
    ++dropped;
    EXPECT_EQ(take(tensor.name, rows.at(tensor.equals)), "BF16");
  });
  EXPECT_EQ(dropped, 2);
  EXPECT_TRUE(left.empty()) << left.size() << " not in the table, as " << left.begin()->first;
  EXPECT_TRUE(binding.warnings().empty());
  EXPECT_TRUE(binding.per_layer_keys());
  EXPECT_EQ(binding.promised_mtp_depths(), 1);
}

TEST(DeepSeekV3, MtpDepthsFollowTheLastLayer) {
  const Json config = with(small(kDeepSeekV3), "num_nextn_predict_layers", "3");
  const Binding binding = bound(config);
  std::map<std::string, std::string> sources;
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    if (tensor.name.starts_with("mtp.")) sources[tensor.name] = tensor.hf[0].name;
  });
  EXPECT_EQ(sources["mtp.layers.0.eh_proj.weight"], "model.layers.4.eh_proj.weight");
  EXPECT_EQ(sources["mtp.layers.2.final_layernorm.weight"],
            "model.layers.6.shared_head.norm.weight");
  EXPECT_EQ(sources["mtp.layers.1.transformer_layer.mlp.experts.experts.15.linear_fc2.weight"],
            "model.layers.5.mlp.experts.15.down_proj.weight");
  std::set<std::pair<std::string, std::string>> copies;
  binding.for_each_drop(0, [&](const DroppedTensor& tensor) {
    if (tensor.drop->regenerate) copies.emplace(tensor.name, tensor.equals);
  });
  EXPECT_EQ(copies.size(), 6u);
  EXPECT_TRUE(copies.contains({"model.layers.6.shared_head.head.weight", "lm_head.weight"}));
  EXPECT_TRUE(copies.contains({"model.layers.4.embed_tokens.weight", "model.embed_tokens.weight"}));
  EXPECT_EQ(binding.megatron_config("bf16")["mtp_num_layers"], 3);

  const Binding dropped = bound(config, {.drop_mtp = true});
  EXPECT_TRUE(megatron_names(dropped, false, "mtp.").empty());
  EXPECT_EQ(dropped.promised_mtp_depths(), 3);
  EXPECT_EQ(dropped.megatron_config("bf16")["mtp_num_layers"], nullptr);
  EXPECT_EQ(dropped.mtp_hf_prefixes(0, 2), std::vector<std::string>{"model.layers.6."});
  EXPECT_EQ(megatron_names(dropped, false, "decoder."), megatron_names(binding, false, "decoder."));
}

TEST(DeepSeekV3, TiedHeadOfMtp) {
  const Binding binding = bound(with(small(kDeepSeekV3), "tie_word_embeddings", "true"));
  std::map<std::string, std::string> equal;
  binding.for_each_drop(0, [&](const DroppedTensor& tensor) {
    if (!tensor.equals.empty()) equal[tensor.name] = tensor.equals;
  });
  const std::map<std::string, std::string> expected = {
      {"lm_head.weight", "model.embed_tokens.weight"},
      {"model.layers.4.embed_tokens.weight", "model.embed_tokens.weight"},
      {"model.layers.4.shared_head.head.weight", "model.embed_tokens.weight"}};
  EXPECT_EQ(equal, expected);
}

TEST(DeepSeekV3, WithoutWhatIsOptional) {
  for (const char* shared : {"0", "null"}) {
    const Binding binding = bound(with(small(kDeepSeekV3), "n_shared_experts", shared));
    EXPECT_FALSE(megatron_names(binding, false, "decoder.layers.3.mlp.")
                     .contains("shared_experts.linear_fc2.weight"));
    EXPECT_EQ(binding.megatron_config("bf16")["moe_shared_expert_intermediate_size"], nullptr);
  }
  const Binding binding = bound(with(small(kDeepSeekV3), "n_shared_experts", "2"));
  EXPECT_EQ(binding.megatron_config("bf16")["moe_shared_expert_intermediate_size"], 4096);
  binding.for_each_tensor(0, false, [&](const LogicalTensor& tensor) {
    if (tensor.name != "decoder.layers.3.mlp.shared_experts.linear_fc1.weight") return;
    EXPECT_EQ(tensor.hf[1].shape, (bridge::Shape{4096, 7168}));
  });
  const Binding no_mtp = bound(without(small(kDeepSeekV3), "num_nextn_predict_layers"));
  EXPECT_TRUE(megatron_names(no_mtp, false, "mtp.").empty());
  const Binding all_dense = bound(
      with(without(small(kDeepSeekV3), "num_nextn_predict_layers"), "first_k_dense_replace", "9"));
  EXPECT_TRUE(
      megatron_names(all_dense, false, "decoder.layers.3.").contains("mlp.linear_fc1.weight"));
  EXPECT_EQ(all_dense.megatron_config("bf16")["moe_layer_freq"], Json({0, 0, 0, 0}));
}

// The router's bias is F32 on both sides, whatever the other dtypes are.
TEST(DeepSeekV3, RouterBiasIsF32) {
  bound(small(kDeepSeekV3)).for_each_tensor(0, false, [](const LogicalTensor& tensor) {
    const bool bias = tensor.name.ends_with("expert_bias");
    EXPECT_EQ(tensor.row->keep.has_value(), bias) << tensor.name;
    EXPECT_EQ(tensor.row->dtypes.size(), 3U) << tensor.name;  // other releases have BF16
    EXPECT_EQ(tensor.row->dtypes[0], bridge::Dtype::kF32) << tensor.name;
  });
}

}  // namespace
}  // namespace mappings
