// No silent loss during an export: whatever happens to any one tensor of a Megatron checkpoint, the
// plan of its export refuses it and names it. Like no_silent_loss_test.cpp, but on checkpoints that
// real Megatron-Core and Megatron-Bridge wrote.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/plan/export_plan.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

BoundModel bound(const std::string& config) {
  return bind_model(config, "config.json", {}, {}, {});
}

// The configuration of megatron_written in Hugging Face's terms.
nlohmann::ordered_json written_config(const std::string& architecture, int layers, bool tied) {
  return {{"architectures", {architecture}},
          {"hidden_size", 64},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"intermediate_size", 96},
          {"vocab_size", 128},
          {"max_position_embeddings", 32},
          {"hidden_act", "silu"},
          {"num_experts", 4},
          {"moe_intermediate_size", 32},
          {"tie_word_embeddings", tied}};
}

nlohmann::ordered_json latent_config() {
  nlohmann::ordered_json config = written_config("DeepseekV3ForCausalLM", 3, false);
  // The model has one shared expert of 48; the configuration can say 1.5 of 32.
  config.update({{"n_routed_experts", 4},
                 {"n_shared_experts", 1.5},
                 {"first_k_dense_replace", 1},
                 {"num_nextn_predict_layers", 1},
                 {"num_experts_per_tok", 2},
                 {"q_lora_rank", 24},
                 {"kv_lora_rank", 16},
                 {"qk_nope_head_dim", 16},
                 {"qk_rope_head_dim", 8},
                 {"v_head_dim", 16}});
  return config;
}

struct MegatronFixture {
  std::string name;
  int tensors;  // keys in .metadata
  int outputs;  // on the Hugging Face side
  std::string config;
  std::string reference = {};     // a folder with weights; empty: only a configuration
  int64_t regenerated_bytes = 0;  // bytes of duplicates that the checkpoint does not have

  Path path() const {
    return reference.empty() ? kData / "megatron_written" / name
                             : kData / "bridge_written" / name / "megatron";
  }
};

MegatronFixture written(const std::string& name, const nlohmann::ordered_json& config, int tensors,
                        int outputs, int64_t regenerated_bytes = 0) {
  return {name, tensors, outputs, config.dump(), {}, regenerated_bytes};
}
MegatronFixture bridge_written(const std::string& name, int tensors, int outputs) {
  const Path hf = kData / "bridge_written" / name / "hf";
  return {name, tensors, outputs, file_content(hf / "config.json"), hf.native()};
}

class ExportLossTest : public testing::TestWithParam<MegatronFixture> {
 protected:
  ExportLossTest() : folder_(open_checkpoint(GetParam().path())), model_(bound(GetParam().config)) {
    origin_.reference.emplace();  // a configuration without weights
    if (GetParam().reference.empty()) return;
    origin_.reference = open_hf_folder(real_file_system(), GetParam().reference, budget_);
  }

  ExportPlan plan(MegatronFolder folder) const {
    std::sort(folder.metadata.tensors.begin(), folder.metadata.tensors.end(),
              [](const DcpTensor& a, const DcpTensor& b) { return a.key < b.key; });
    MemoryBudget budget(64 << 20);
    ExportOptions options;
    options.spec = GetParam().name == "mla_moe" ? Spec::kLocal : Spec::kTe;
    return plan_export(folder, model_.binding, origin_, options, real_file_system(), budget);
  }

  // Messages name a stacked key by its layers, a key of experts by each expert, half a singleton by
  // the whole, and an old spelling of the MoE layer's norm by today's.
  static std::string as_named(std::string key) {
    if (GetParam().name == "moe_homog_ep2_resave" && key.ends_with(".layer_norm_weight") &&
        key.find(".mlp.") != std::string::npos) {
      return ".pre_mlp_layernorm.weight";
    }
    if (key.ends_with("_w") || key.ends_with("_v")) key.resize(key.size() - 2);
    const std::string stem = "decoder.layers.";
    if (key.starts_with(stem)) key = key.substr(stem.size());
    const std::string experts = ".experts.experts.";
    const size_t at = key.find(experts);
    return at == std::string::npos ? key : key.substr(0, at + experts.size());
  }

  // Changes a copy of the checkpoint and expects a refusal that contains one of these names.
  void refused(const std::vector<std::string>& names,
               const std::function<void(MegatronFolder&)>& edit) {
    MegatronFolder folder = folder_;
    edit(folder);
    const Error e = expect_error(Code::kBadInput, "", [&] { plan(folder); });
    EXPECT_TRUE(std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return e.message().find(name) != std::string::npos;
    })) << e.message();
    ++cases_;
  }

  MemoryBudget budget_{64 << 20};
  MegatronFolder folder_;
  BoundModel model_;
  Origin origin_;
  int cases_ = 0;
};

TEST_P(ExportLossTest, AsItIsItIsPlannedWhole) {
  const ExportPlan whole = plan(folder_);
  int64_t bytes = GetParam().regenerated_bytes;
  for (const DcpTensor& tensor : folder_.metadata.tensors) {
    bytes += byte_size(tensor.dtype, tensor.shape);
  }
  if (origin_.from_reference()) bytes = origin_.reference->total_bytes;
  EXPECT_EQ(whole.output_bytes, bytes);
  EXPECT_EQ(std::ssize(whole.outputs), GetParam().outputs);
  EXPECT_EQ(std::ssize(folder_.metadata.tensors), GetParam().tensors);
}

TEST_P(ExportLossTest, EveryTensorIsAccountedFor) {
  for (size_t i = 0; i < folder_.metadata.tensors.size(); ++i) {
    const std::string key = folder_.metadata.tensors[i].key;
    const std::vector<std::string> names = {key, as_named(key)};
    SCOPED_TRACE(key);
    const auto on_tensor = [&](auto edit) {
      return [i, edit](MegatronFolder& f) { edit(f.metadata.tensors[i]); };
    };
    refused(names, [&](MegatronFolder& f) {
      f.metadata.tensors.erase(f.metadata.tensors.begin() + static_cast<long>(i));
    });
    refused({key + "_"}, on_tensor([](DcpTensor& t) { t.key += "_"; }));
    refused({"x." + key}, [&](MegatronFolder& f) {
      f.metadata.tensors.push_back(f.metadata.tensors[i]);
      f.metadata.tensors.back().key = "x." + key;
    });
    refused(names, on_tensor([](DcpTensor& t) { ++t.shape.back(); }));
    refused(names, on_tensor([](DcpTensor& t) { t.shape.insert(t.shape.begin(), 1); }));
    refused(names, on_tensor([](DcpTensor& t) { t.dtype = Dtype::kI64; }));
    refused(names, on_tensor([](DcpTensor& t) { t.dtype = Dtype::kF64; }));
    refused(names, on_tensor([](DcpTensor& t) { t.dtype = Dtype::kF8E4M3; }));
    // A vocabulary may have more rows than expected, never fewer.
    refused(names, on_tensor([](DcpTensor& t) { --t.shape.front(); }));
  }
  EXPECT_EQ(cases_, 9 * GetParam().tensors);
}

TEST_P(ExportLossTest, StrangersAreNamed) {
  for (const std::string& key :
       {std::string("decoder.layers.mlp.router.bias"), std::string("decoder.layers.7.new.weight"),
        std::string("output_layer.bias"), std::string("embedding.position_embeddings.weight"),
        std::string("decoder.layers.1.mlp.experts.experts.9.linear_fc1.weight")}) {
    refused({key}, [&](MegatronFolder& f) {
      f.metadata.tensors.push_back({key, Dtype::kBF16, {2, 2}, {}});
    });
  }
  EXPECT_EQ(cases_, 5);
}

const auto kQwen2 = written_config("Qwen2ForCausalLM", 3, false);
// embedding, final norm, output layer; 9 tensors and three QKV biases in each layer
constexpr int kQwen2Outputs = 3 + 3 * 12;
const MegatronFixture kMegatronFixtures[] = {
    written("dense", kQwen2, 10, kQwen2Outputs),
    written("dense_tp2_resave", kQwen2, 10, kQwen2Outputs),
    written("dense_pp3_resave", kQwen2, 10, kQwen2Outputs),
    // layers not stacked, gate and up separate
    written("dense_singleton", kQwen2, 27, kQwen2Outputs),
    written("dense_tied_qknorm", written_config("Qwen3ForCausalLM", 2, true), 10, 2 + 2 * 11),
    // 8 tensors of attention and norms, the router, four experts
    written("moe_homog_ep2_resave", written_config("Qwen3MoeForCausalLM", 2, false), 12,
            3 + 2 * (8 + 1 + 4 * 3)),
    // 9 tensors of latent attention and norms; a dense layer, two with experts and a shared one, an
    // MTP depth; its copies of embedding and head, which every release has
    written("mla_moe", latent_config(), 63, 3 + (9 + 3) + 3 * (9 + 2 + 4 * 3 + 3) + 4 + 2,
            2 * 2 * 128 * 64),
    bridge_written("qwen3_dense", 11, 25),
    bridge_written("llama_tied", 8, 29),
    bridge_written("qwen3_moe", 12, 69),
    bridge_written("deepseek_v3", 63, 135),
    bridge_written("deepseek_v3_mtp2", 67, 141),
    bridge_written("deepseek_v3_fp8", 63, 239),
};
INSTANTIATE_TEST_SUITE_P(Fixtures, ExportLossTest, testing::ValuesIn(kMegatronFixtures),
                         [](const auto& test) {
                           return (test.param.reference.empty() ? "" : "bridge_") + test.param.name;
                         });

// A tensor of the reference that neither the checkpoint nor a rule explains would vanish.
TEST(ExportLoss, TensorsOfTheReferenceAreAccountedForToo) {
  const Path fixture = kData / "bridge_written/qwen3_dense";
  const MegatronFolder checkpoint = open_checkpoint(fixture / "megatron");
  const BoundModel model = bound(file_content(fixture / "hf/config.json"));
  MemoryBudget budget(64 << 20);
  Origin origin;
  origin.reference = open_hf_folder(real_file_system(), fixture / "hf", budget);
  EXPECT_NO_THROW(plan_export(checkpoint, model.binding, origin, {}, real_file_system(), budget));
  HfTensor stranger = origin.reference->tensors.back();
  stranger.name = "zzz.weight";
  origin.reference->tensors.push_back(stranger);
  const Error e = expect_error(Code::kBadInput, "1 unknown (zzz.weight)", [&] {
    plan_export(checkpoint, model.binding, origin, {}, real_file_system(), budget);
  });
  EXPECT_NE(e.hint().find("would be lost"), std::string::npos);
}

}  // namespace
}  // namespace bridge
