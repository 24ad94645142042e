// No silent loss: whatever happens to any one tensor of a source, the plan refuses it and names it.
// Every tensor of every fixture is removed, renamed, duplicated, reshaped and retyped, in the
// headers as they were read; what is counted is how many plans were tried.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/convert.h"
#include "bridge/convert/convert_plan.h"
#include "bridge/convert/export_plan.h"
#include "bridge/convert/model_binding.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

BoundModel bound(const std::string& config) {
  return bind_model(real_file_system(), config, "config.json", {}, true);
}

// --- convert ------------------------------------------------------------------------------------

struct HfFixture {
  std::string name;
  int tensors;
  std::string stranger;  // a layer that the configuration does not have
};

class ConvertLossTest : public testing::TestWithParam<HfFixture> {
 protected:
  ConvertLossTest()
      : path_(kData / "bridge_written" / GetParam().name / "hf"),
        folder_(open_hf_folder(real_file_system(), path_, budget_)),
        model_(bound(file_content(path_ / "config.json"))) {}

  ConvertPlan plan(HfFolder folder) const {
    std::sort(folder.tensors.begin(), folder.tensors.end(),
              [](const HfTensor& a, const HfTensor& b) { return a.name < b.name; });
    MemoryBudget budget(64 << 20);
    return plan_convert(folder, model_.binding, {}, budget);
  }

  // Changes a copy of the folder and expects a refusal that names each of `names`.
  void refused(const std::vector<std::string>& names, const std::function<void(HfFolder&)>& edit) {
    HfFolder folder = folder_;
    edit(folder);
    const Error e =
        expect_error(Code::kBadInput, "tensors do not fit the table", [&] { plan(folder); });
    for (const std::string& name : names) {
      EXPECT_NE(e.message().find(name), std::string::npos) << e.message();
    }
    ++cases_;
  }

  Path path_;
  MemoryBudget budget_{64 << 20};
  HfFolder folder_;
  BoundModel model_;
  int cases_ = 0;
};

TEST_P(ConvertLossTest, AsItIsItIsPlannedWhole) {
  const ConvertPlan whole = plan(folder_);
  std::vector<int> used(folder_.tensors.size(), 0);
  int64_t elements = 0;
  for (size_t i = 0; i < whole.transfers.size(); ++i) {
    const Transfer& transfer = whole.transfers[i];
    elements += transfer.end - transfer.begin;
    for (const TransferInput& input : transfer.inputs) used[static_cast<size_t>(input.tensor)] = 1;
  }
  EXPECT_EQ(std::count(used.begin(), used.end(), 1), GetParam().tensors);
  EXPECT_EQ(elements * 2, folder_.total_bytes);
}

TEST_P(ConvertLossTest, EveryTensorIsAccountedFor) {
  for (size_t i = 0; i < folder_.tensors.size(); ++i) {
    const std::string name = folder_.tensors[i].name;
    SCOPED_TRACE(name);
    refused({name},
            [&](HfFolder& f) { f.tensors.erase(f.tensors.begin() + static_cast<long>(i)); });
    refused({name, name + "_"}, [&](HfFolder& f) { f.tensors[i].name += "_"; });
    refused({"x." + name}, [&](HfFolder& f) {
      f.tensors.push_back(f.tensors[i]);
      f.tensors.back().name = "x." + name;
    });
    refused({name}, [&](HfFolder& f) { ++f.tensors[i].shape.back(); });
    refused({name}, [&](HfFolder& f) {
      Shape& shape = f.tensors[i].shape;
      shape.insert(shape.begin(), 1);
    });
    refused({name}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kI64; });
    refused({name}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kF64; });
  }
  EXPECT_EQ(cases_, 7 * GetParam().tensors);
}

// Parts of one Megatron tensor have one dtype.
TEST_P(ConvertLossTest, PartsOfOneTensorAgreeInDtype) {
  for (size_t i = 0; i < folder_.tensors.size(); ++i) {
    const std::string name = folder_.tensors[i].name;
    for (const char* part : {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}) {
      if (name.find(part) == std::string::npos) continue;
      refused({name}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kF16; });
    }
  }
  EXPECT_EQ(cases_, 5 * model_.binding.dim("layers"));
}

TEST_P(ConvertLossTest, StrangersAreNamed) {
  for (const std::string& name :
       {GetParam().stranger, std::string("model.layers.0.self_attn.q_proj.weight_scale"),
        std::string("model.layers.00.input_layernorm.weight"), std::string("v_head.weight")}) {
    refused({name}, [&](HfFolder& f) {
      f.tensors.push_back(f.tensors[0]);
      f.tensors.back().name = name;
    });
  }
  EXPECT_EQ(cases_, 4);
}

INSTANTIATE_TEST_SUITE_P(
    Fixtures, ConvertLossTest,
    testing::Values(HfFixture{"qwen3_dense", 25, "model.layers.2.input_layernorm.weight"},
                    HfFixture{"llama_tied", 29, "model.layers.3.input_layernorm.weight"}),
    [](const auto& test) { return test.param.name; });

// A second copy of tied embeddings is no stranger: its bytes are compared when they are read.
TEST(ConvertLoss, ATiedOutputLayerMustRepeatTheEmbedding) {
  const TempDir dir;
  FastFileSystem fs;
  auto tensors = tiny_tensors(1, true, Dtype::kBF16, random_bytes(1));
  NamedTensor head = tensors[0];
  head.name = "lm_head.weight";
  tensors.push_back(head);
  write_hf_folder(dir / "hf", tiny_config(1, true, "bfloat16"), tensors);
  const Report report = convert_hf(fs, run_options<ConvertOptions>(dir / "hf", dir / "out"));
  EXPECT_EQ(report.json["dropped"][0]["name"], "lm_head.weight");

  tensors.back().bytes.back() = static_cast<char>(tensors.back().bytes.back() ^ 1);
  put_file(dir / "hf/model.safetensors", safetensors_file(tensors));
  expect_error(Code::kBadInput, "lm_head.weight: differs from model.embed_tokens.weight",
               [&] { convert_hf(fs, run_options<ConvertOptions>(dir / "hf", dir / "out2")); });
  EXPECT_EQ(fs.list(dir.path()), (std::vector<std::string>{"hf", "out"}));

  tensors.back().shape = {8, 10};
  put_file(dir / "hf/model.safetensors", safetensors_file(tensors));
  expect_error(Code::kBadInput, "lm_head.weight: BF16 [8, 10] where its original",
               [&] { convert_hf(fs, run_options<ConvertOptions>(dir / "hf", dir / "out2")); });
}

// --- export -------------------------------------------------------------------------------------

nlohmann::ordered_json fixture_config(const std::string& family, int layers, bool tied) {
  return {{"architectures", {family == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM"}},
          {"model_type", family},
          {"hidden_size", 64},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"intermediate_size", 96},
          {"vocab_size", 128},
          {"max_position_embeddings", 32},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", tied}};
}

struct MegatronFixture {
  std::string name;
  std::string family;
  int layers;
  bool tied;
  int tensors;  // keys in .metadata
};

class ExportLossTest : public testing::TestWithParam<MegatronFixture> {
 protected:
  ExportLossTest()
      : folder_(open_checkpoint(kData / "megatron_written" / GetParam().name)),
        model_(
            bound(fixture_config(GetParam().family, GetParam().layers, GetParam().tied).dump())) {
    origin_.reference.emplace();  // a configuration without weights
  }

  ExportPlan plan(MegatronFolder folder) const {
    std::sort(folder.metadata.tensors.begin(), folder.metadata.tensors.end(),
              [](const DcpTensor& a, const DcpTensor& b) { return a.key < b.key; });
    MemoryBudget budget(64 << 20);
    return plan_export(folder, model_.binding, origin_, {}, real_file_system(), budget);
  }

  // A stacked key is named by its layers, half a singleton by the whole.
  static std::string as_named(std::string key) {
    if (key.ends_with("_w") || key.ends_with("_v")) key.resize(key.size() - 2);
    const std::string stem = "decoder.layers.";
    return key.starts_with(stem) ? key.substr(stem.size()) : key;
  }

  void refused(const std::string& name, const std::function<void(MegatronFolder&)>& edit) {
    MegatronFolder folder = folder_;
    edit(folder);
    expect_error(Code::kBadInput, name, [&] { plan(folder); });
    ++cases_;
  }

  MegatronFolder folder_;
  BoundModel model_;
  Origin origin_;
  int cases_ = 0;
};

TEST_P(ExportLossTest, AsItIsItIsPlannedWhole) {
  const ExportPlan whole = plan(folder_);
  int64_t bytes = 0;
  for (const DcpTensor& tensor : folder_.metadata.tensors) {
    bytes += byte_size(tensor.dtype, tensor.shape);
  }
  EXPECT_EQ(whole.output_bytes, bytes);
  // embedding, final norm, output layer; 9 a layer and two q/k norms or three QKV biases
  const int per_layer = GetParam().family == "qwen2" ? 12 : 11;
  EXPECT_EQ(std::ssize(whole.outputs), (GetParam().tied ? 2 : 3) + per_layer * GetParam().layers);
}

TEST_P(ExportLossTest, EveryTensorIsAccountedFor) {
  for (size_t i = 0; i < folder_.metadata.tensors.size(); ++i) {
    const std::string key = folder_.metadata.tensors[i].key;
    const std::string name = as_named(key);
    SCOPED_TRACE(key);
    const auto on_tensor = [&](auto edit) {
      return [i, edit](MegatronFolder& f) { edit(f.metadata.tensors[i]); };
    };
    refused(name, [&](MegatronFolder& f) {
      f.metadata.tensors.erase(f.metadata.tensors.begin() + static_cast<long>(i));
    });
    refused(key + "_", on_tensor([](DcpTensor& t) { t.key += "_"; }));
    refused("x." + key, [&](MegatronFolder& f) {
      f.metadata.tensors.push_back(f.metadata.tensors[i]);
      f.metadata.tensors.back().key = "x." + key;
    });
    refused(name, on_tensor([](DcpTensor& t) { ++t.shape.back(); }));
    refused(name, on_tensor([](DcpTensor& t) { t.shape.insert(t.shape.begin(), 1); }));
    refused(name, on_tensor([](DcpTensor& t) { t.dtype = Dtype::kI64; }));
    refused(name, on_tensor([](DcpTensor& t) { t.dtype = Dtype::kF64; }));
    // Rows of a vocabulary may be more, never fewer.
    refused(name, on_tensor([](DcpTensor& t) { --t.shape.front(); }));
  }
  EXPECT_EQ(cases_, 8 * GetParam().tensors);
}

TEST_P(ExportLossTest, StrangersAreNamed) {
  for (const std::string& key :
       {std::string("decoder.layers.mlp.router.weight"), std::string("decoder.layers.7.new.weight"),
        std::string("output_layer.bias"), std::string("embedding.position_embeddings.weight")}) {
    refused(key, [&](MegatronFolder& f) {
      f.metadata.tensors.push_back({key, Dtype::kBF16, {2, 2}, {}});
    });
  }
  EXPECT_EQ(cases_, 4);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ExportLossTest,
                         testing::Values(MegatronFixture{"dense", "qwen2", 3, false, 10},
                                         MegatronFixture{"dense_tp2_resave", "qwen2", 3, false, 10},
                                         MegatronFixture{"dense_pp3_resave", "qwen2", 3, false, 10},
                                         // layers not stacked, gate and up apart
                                         MegatronFixture{"dense_singleton", "qwen2", 3, false, 27},
                                         MegatronFixture{"dense_tied_qknorm", "qwen3", 2, true,
                                                         10}),
                         [](const auto& test) { return test.param.name; });

// What the reference has and neither the checkpoint nor a rule explains would vanish.
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
