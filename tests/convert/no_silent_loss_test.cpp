// No silent loss during a conversion to Megatron: whatever happens to any one tensor of a source,
// the plan refuses it and names it. The tests remove, rename, duplicate, reshape and retype every
// tensor of every fixture in the headers that were read, and count the plans that they tried.
// no_silent_export_loss_test.cpp tests exports.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/convert.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/plan/convert_plan.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

BoundModel bound(const std::string& config) {
  return bind_model(config, "config.json", {}, {}, {});
}

// --- convert ------------------------------------------------------------------------------------

struct HfFixture {
  std::string name;
  int tensors;
  // The number of parts of Megatron tensors that have several.
  int joined;
  // Belongs to a layer or expert that the configuration does not have.
  std::string stranger;
  int scales = 0;
  // The number of tensors that repeat another one and may be absent.
  int duplicates = 0;
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

  // True for MTP's own copies of embedding and head.
  bool is_duplicate(const std::string& name) const {
    return GetParam().duplicates > 0 && name.starts_with("model.layers.") &&
           (name.ends_with(".embed_tokens.weight") || name.ends_with(".shared_head.head.weight"));
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
  const auto use = [&](int32_t tensor) { used[static_cast<size_t>(tensor)] = 1; };
  int64_t planned = 0;
  for (const Transfer& transfer : whole.transfers) {
    planned += transfer.end - transfer.begin;
    for (const TransferInput& input : transfer.inputs) {
      use(input.tensor);
      if (input.scales.quantized()) use(input.scales.tensor);
    }
  }
  for (const DroppedSource& dropped : whole.match.dropped) {
    EXPECT_EQ(used[static_cast<size_t>(dropped.tensor)], 0);
    EXPECT_GE(dropped.equals, 0);
    use(dropped.tensor);
  }
  EXPECT_EQ(std::count(used.begin(), used.end(), 1), GetParam().tensors);
  EXPECT_EQ(std::ssize(folder_.tensors), GetParam().tensors);
  EXPECT_EQ(std::ssize(whole.match.scales), GetParam().scales);
  EXPECT_EQ(std::ssize(whole.match.dropped), GetParam().duplicates);

  int64_t elements = 0;
  for (const HfTensor& tensor : folder_.tensors) {
    if (tensor.name.ends_with("_scale_inv") || is_duplicate(tensor.name)) continue;
    elements += element_count(tensor.shape);
  }
  EXPECT_EQ(planned, elements);
}

TEST_P(ConvertLossTest, EveryTensorIsAccountedFor) {
  for (size_t i = 0; i < folder_.tensors.size(); ++i) {
    const std::string name = folder_.tensors[i].name;
    SCOPED_TRACE(name);
    if (is_duplicate(name)) {
      refused({name + "_"}, [&](HfFolder& f) { f.tensors[i].name += "_"; });
    } else {
      refused({name},
              [&](HfFolder& f) { f.tensors.erase(f.tensors.begin() + static_cast<long>(i)); });
      refused({name, name + "_"}, [&](HfFolder& f) { f.tensors[i].name += "_"; });
    }
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
    refused({name}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kF8E5M2; });
  }
  EXPECT_EQ(cases_, 8 * GetParam().tensors - GetParam().duplicates);
}

TEST_P(ConvertLossTest, DuplicatesMayBeAbsent) {
  HfFolder folder = folder_;
  EXPECT_EQ(std::erase_if(folder.tensors, [&](const auto& t) { return is_duplicate(t.name); }),
            static_cast<size_t>(GetParam().duplicates));
  EXPECT_EQ(plan(folder).transfers.size(), plan(folder_).transfers.size());
}

// A tensor that is stored without scales must not have any.
TEST_P(ConvertLossTest, ScalesOfTensorsThatAreNotQuantizedAreStrangers) {
  int plain = 0;
  for (const HfTensor& tensor : folder_.tensors) {
    if (tensor.dtype == Dtype::kF8E4M3 || !tensor.name.ends_with(".weight")) continue;
    ++plain;
    refused({tensor.name + "_scale_inv"}, [&](HfFolder& f) {
      f.tensors.push_back({tensor.name + "_scale_inv", Dtype::kF32, {1, 1}, 0, 0, 4});
    });
  }
  EXPECT_GT(plain, 10);
}

// A quantized tensor and its scales belong together: neither becomes plain by itself.
TEST_P(ConvertLossTest, CodesWithoutTheirScales) {
  for (size_t i = 0; i < folder_.tensors.size(); ++i) {
    if (folder_.tensors[i].dtype != Dtype::kF8E4M3) continue;
    const std::string name = folder_.tensors[i].name;
    const std::string scales = name + "_scale_inv";
    refused({name, "without its scales " + scales}, [&](HfFolder& f) {
      std::erase_if(f.tensors, [&](const HfTensor& t) { return t.name == scales; });
    });
    refused({scales}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kBF16; });
  }
  EXPECT_EQ(cases_, 2 * GetParam().scales);
}

// The parts of one Megatron tensor have one dtype.
TEST_P(ConvertLossTest, PartsOfOneTensorAgreeInDtype) {
  for (size_t i = 0; i < folder_.tensors.size(); ++i) {
    const std::string name = folder_.tensors[i].name;
    for (const char* part : {".q_proj.w", ".k_proj.w", ".v_proj.w", ".gate_proj.w", ".up_proj.w"}) {
      if (name.find(part) == std::string::npos || name.ends_with("_scale_inv")) continue;
      refused({name}, [&](HfFolder& f) { f.tensors[i].dtype = Dtype::kF16; });
    }
  }
  EXPECT_EQ(cases_, GetParam().joined);
}

TEST_P(ConvertLossTest, StrangersAreNamed) {
  for (const std::string& name :
       {GetParam().stranger, std::string("model.layers.0.self_attn.q_proj.weight_scale"),
        std::string("model.layers.00.input_layernorm.weight"), std::string("v_head.weight"),
        std::string("model.layers.1.mlp.experts.00.up_proj.weight")}) {
    refused({name}, [&](HfFolder& f) {
      f.tensors.push_back(f.tensors[0]);
      f.tensors.back().name = name;
    });
  }
  EXPECT_EQ(cases_, 5);
}

const HfFixture kHfFixtures[] = {
    {"qwen3_dense", 25, 2 * 5, "model.layers.2.input_layernorm.weight"},
    {"llama_tied", 29, 3 * 5, "model.layers.3.input_layernorm.weight"},
    {"qwen3_moe", 69, 2 * (3 + 8 * 2), "model.layers.0.mlp.experts.8.up_proj.weight"},
    // One dense layer; each layer that follows, the MTP depths included, has eight experts and a
    // shared one.
    {"deepseek_v3", 135, 2 + 3 * 18, "model.layers.3.mlp.experts.8.up_proj.weight", 0, 2},
    {"deepseek_v3_mtp2", 141, 2 + 3 * 18, "model.layers.0.mlp.experts.0.up_proj.weight", 0, 4},
    {"deepseek_v3_fp8", 239, 2 + 3 * 18, "model.layers.3.mlp.experts.8.up_proj.weight_scale_inv",
     104, 2},
};
INSTANTIATE_TEST_SUITE_P(Fixtures, ConvertLossTest, testing::ValuesIn(kHfFixtures),
                         [](const auto& test) { return test.param.name; });

// A second copy of tied embeddings is not a stranger: its bytes are compared when they are read.
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

}  // namespace
}  // namespace bridge
