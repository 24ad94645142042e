// convert-hf, then export-to-hf: the same files again, byte for byte, whatever the options between.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

struct Options {
  std::string name;
  int threads = 1;
  int64_t memory = 256 << 20;
  int64_t file_size = 5'000'000'000;
  LayerKeys layer_keys = LayerKeys::kAuto;
  Spec spec = Spec::kTe;
};

const Options kOptions[] = {
    {"Default"},
    {"FourThreads", 4},
    {"SmallMemory", 1, 1 << 20},
    {"SmallMemoryFourThreads", 4, 1 << 20},
    {"MediumMemory", 4, 64 << 20},
    {"ManyFiles", 4, 256 << 20, 30'000},
    {"PerLayer", 1, 256 << 20, 5'000'000'000, LayerKeys::kPerLayer},
    {"Stacked", 1, 256 << 20, 5'000'000'000, LayerKeys::kStacked},
    {"Local", 1, 256 << 20, 5'000'000'000, LayerKeys::kAuto, Spec::kLocal},
    {"LocalPerLayer", 4, 1 << 20, 30'000, LayerKeys::kPerLayer, Spec::kLocal},
};

class RoundTrip : public testing::Test {
 protected:
  void convert(const Path& source, const Path& target, const Options& with = {}) {
    auto options = run_options<ConvertOptions>(source, target);
    options.threads = with.threads;
    options.memory = with.memory;
    options.file_size = with.file_size;
    options.layer_keys = with.layer_keys;
    options.spec = with.spec;
    convert_hf(fs_, options);
  }

  Report export_again(const Path& source, const Path& target, const Options& with = {},
                      const Path& reference = {}) {
    auto options = run_options<ExportOptions>(source, target);
    options.threads = with.threads;
    options.memory = with.memory;
    options.reference = reference;
    return export_to_hf(fs_, options);
  }

  // A folder with tensors larger than a slice, in two shards.
  Path wide_model() {
    write_hf_folder(dir_ / "wide", tiny_config(2, false, "bfloat16", kWide),
                    tiny_tensors(2, false, Dtype::kBF16, random_bytes(7), kWide), 2);
    return dir_ / "wide";
  }

  void expect_same(const Path& a, const Path& b) {
    ASSERT_FALSE(tree(a).empty());
    EXPECT_EQ(first_difference(tree(a), tree(b)), "");
  }

  TempDir dir_;
  FastFileSystem fs_;
};

class RoundTripOptions : public RoundTrip, public testing::WithParamInterface<Options> {
 protected:
  // Returns the checkpoint between.
  Path trip(const Path& source, int number, const Options& with) {
    SCOPED_TRACE(source);
    const std::string name = std::to_string(number);
    convert(source, dir_ / ("megatron" + name), with);
    export_again(dir_ / ("megatron" + name), dir_ / ("hf" + name), with);
    expect_same(source, dir_ / ("hf" + name));
    const MegatronFolder written = open_checkpoint(dir_ / ("megatron" + name));
    EXPECT_EQ(written.metadata.files.size() > 3, with.file_size == 30'000);
    return dir_ / ("megatron" + name);
  }

  static std::string layer_of(const Options& with) {
    return with.layer_keys == LayerKeys::kPerLayer ? "decoder.layers.1." : "decoder.layers.";
  }
};

TEST_P(RoundTripOptions, GivesTheSameFolder) {
  const Options& with = GetParam();
  int folders = 0;
  for (const Path& source : {kData / "bridge_written/qwen3_dense/hf",
                             kData / "bridge_written/llama_tied/hf", wide_model()}) {
    const Path megatron = trip(source, ++folders, with);
    const std::string layer = layer_of(with);
    // Both specs save the norms under their fused names (sharded_state_dict_keys_map).
    EXPECT_NE(open_checkpoint(megatron).find(layer + "mlp.linear_fc1.layer_norm_weight"), nullptr);
    EXPECT_NE(open_checkpoint(megatron).find(layer + "mlp.linear_fc2.weight"), nullptr);
  }
}

// Experts and layers stacked together, or a tensor of experts a layer.
TEST_P(RoundTripOptions, GivesTheSameFolderWithExperts) {
  const Options& with = GetParam();
  const MegatronFolder written =
      open_checkpoint(trip(kData / "bridge_written/qwen3_moe/hf", 1, with));
  const DcpTensor* fc1 = written.find(layer_of(with) + "mlp.experts.experts.linear_fc1.weight");
  ASSERT_NE(fc1, nullptr);
  const Shape shape = {8, 64, 64};
  EXPECT_EQ(fc1->shape, with.layer_keys == LayerKeys::kPerLayer ? shape : (Shape{2, 8, 64, 64}));
}

// Latent attention, MTP and FP8. Its layers are not alike, so they cannot be stacked.
TEST_P(RoundTripOptions, GivesTheSameFolderOfDeepSeek) {
  const Options& with = GetParam();
  int folders = 0;
  for (const char* name : {"deepseek_v3", "deepseek_v3_mtp2", "deepseek_v3_fp8"}) {
    const Path source = kData / "bridge_written" / name / "hf";
    if (with.layer_keys == LayerKeys::kStacked) {
      const Error e = expect_error(Code::kUsage, "not every layer has this tensor",
                                   [&] { convert(source, dir_ / "megatron", with); });
      EXPECT_EQ(e.hint(), "use --layer-keys per-layer");
      continue;
    }
    const MegatronFolder written = open_checkpoint(trip(source, ++folders, with));
    EXPECT_NE(written.find("decoder.layers.1.mlp.experts.experts.linear_fc1.weight"), nullptr);
    EXPECT_NE(written.find("mtp.layers.0.eh_proj.weight"), nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(Options, RoundTripOptions, testing::ValuesIn(kOptions),
                         [](const auto& test) { return test.param.name; });

TEST_F(RoundTrip, ThreadsAndMemoryDoNotChangeTheCheckpoint) {
  const Path source = wide_model();
  convert(source, dir_ / "one");
  convert(source, dir_ / "four", {.name = "", .threads = 4, .memory = 1 << 20});
  convert(source, dir_ / "seven", {.name = "", .threads = 7, .memory = 3 << 20});
  expect_same(dir_ / "one", dir_ / "four");
  expect_same(dir_ / "one", dir_ / "seven");
}

// What real Megatron-Bridge imported from the same sources, with configurations only to go by.
TEST_F(RoundTrip, CheckpointsThatBridgeWrote) {
  for (const char* name :
       {"qwen3_dense", "llama_tied", "qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2"}) {
    const Path fixture = kData / "bridge_written" / name;
    const Path reference = dir_ / (std::string(name) + "_config");
    put_file(reference / "config.json", file_content(fixture / "hf/config.json"));
    export_again(fixture / "megatron", dir_ / name, {}, reference);
    EXPECT_TRUE(hf_tensors(dir_ / name) == hf_tensors(fixture / "hf")) << name;
    EXPECT_EQ(file_content(dir_ / name / "config.json"), file_content(fixture / "hf/config.json"));
  }
}

TEST_F(RoundTrip, WithoutTheSidecarAReferenceWithWeightsGivesTheSameFolder) {
  const Path source = wide_model();
  convert(source, dir_ / "megatron");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  const auto alone = dir_ / "megatron_without_a_word";
  std::filesystem::copy(
      dir_ / "megatron", alone,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  std::filesystem::remove(alone / "iter_0000000/common.pt");
  std::filesystem::remove(alone / "iter_0000000/run_config.yaml");
  const Error e = expect_error(Code::kUsage, "nothing says what the Hugging Face side looks like",
                               [&] { export_again(alone, dir_ / "hf"); });
  EXPECT_NE(e.hint().find("--reference"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "hf"));
  export_again(dir_ / "megatron", dir_ / "hf", {}, source);
  expect_same(source, dir_ / "hf");
}

// Configuration and tokenizer of the reference, shards of the sidecar: the index with them.
TEST_F(RoundTrip, AReferenceWithoutWeightsBesideTheSidecar) {
  const Path source = wide_model();
  convert(source, dir_ / "megatron");
  put_file(dir_ / "reference/config.json", file_content(source / "config.json"));
  put_file(dir_ / "reference/tokenizer.json", "another");
  export_again(dir_ / "megatron", dir_ / "hf", {}, dir_ / "reference");
  Tree expected = tree(source);
  expected["tokenizer.json"] = "another";
  EXPECT_EQ(first_difference(expected, tree(dir_ / "hf")), "");

  put_file(dir_ / "reference/model.safetensors.index.json", "{\"weight_map\": {\"x\": \"y\"}}");
  export_again(dir_ / "megatron", dir_ / "hf2", {}, dir_ / "reference");
  EXPECT_EQ(first_difference(expected, tree(dir_ / "hf2")), "");
}

TEST_F(RoundTrip, MaxShardSizeCutsShardsOfItsOwn) {
  const Path source = wide_model();
  convert(source, dir_ / "megatron");
  auto options = run_options<ExportOptions>(dir_ / "megatron", dir_ / "hf");
  options.max_shard_size = 100'000;
  const Report report = export_to_hf(fs_, options);
  EXPECT_TRUE(hf_tensors(dir_ / "hf") == hf_tensors(source));
  MemoryBudget budget(64 << 20);
  const HfFolder written = open_hf_folder(real_file_system(), dir_ / "hf", budget);
  EXPECT_TRUE(written.has_index);
  EXPECT_GT(written.shards.size(), 10U);
  for (const HfShard& shard : written.shards) {
    EXPECT_LE(shard.file_size - shard.payload_offset, 100'000);
  }
}

// Rows beyond the source's are zeros, and are not there any more afterwards.
TEST_F(RoundTrip, VocabularyRowsComeAndGo) {
  write_tiny_model(dir_ / "source", 2);
  auto options = run_options<ConvertOptions>(dir_ / "source", dir_ / "megatron");
  options.vocab_rows = 16;
  convert_hf(fs_, options);
  for (const char* key : {"embedding.word_embeddings.weight", "output_layer.weight"}) {
    EXPECT_EQ(open_checkpoint(dir_ / "megatron").find(key)->shape, (Shape{16, 8}));
    edit_item(dir_ / "megatron", key, 0, [&](std::string& payload) {
      EXPECT_EQ(payload.size(), 16U * 8 * 2);
      EXPECT_EQ(payload.substr(10 * 8 * 2), std::string(6 * 8 * 2, '\0'));
      payload.back() = 1;  // training fills the padding with whatever it likes
    });
  }
  export_again(dir_ / "megatron", dir_ / "hf");
  expect_same(dir_ / "source", dir_ / "hf");

  options.vocab_rows = 9;
  options.target = dir_ / "smaller";
  expect_error(Code::kUsage, "--vocab-rows 9 is smaller than the vocabulary of 10 rows",
               [&] { convert_hf(fs_, options); });
}

// Buffers that no Megatron checkpoint has go through the sidecar.
TEST_F(RoundTrip, TensorsDroppedByRuleComeBack) {
  auto tensors = tiny_tensors(2, true, Dtype::kBF16, random_bytes(3));
  const auto bytes = random_bytes(4);
  for (const char* layer : {"0", "1"}) {
    tensors.push_back({"model.layers." + std::string(layer) + ".self_attn.rotary_emb.inv_freq",
                       Dtype::kF32,
                       {2},
                       bytes(8)});
  }
  tensors.push_back({"lm_head.weight", Dtype::kBF16, {10, 8}, tensors[0].bytes});
  write_hf_folder(dir_ / "source", tiny_config(2, true, "bfloat16"), tensors, 3);
  convert(dir_ / "source", dir_ / "megatron");
  EXPECT_EQ(open_checkpoint(dir_ / "megatron").metadata.tensors.size(), 8U);
  export_again(dir_ / "megatron", dir_ / "hf");
  expect_same(dir_ / "source", dir_ / "hf");

  // Without the sidecar's bytes they cannot be made; that is said, and the rest is there.
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  const Report report = export_again(dir_ / "megatron", dir_ / "less", {}, dir_ / "source");
  EXPECT_EQ(report.json["left_out"].size(), 2U);
  auto expected = hf_tensors(dir_ / "source");
  EXPECT_EQ(std::erase_if(expected, [](const auto& t) { return t.first.ends_with("inv_freq"); }),
            2U);
  EXPECT_TRUE(hf_tensors(dir_ / "less") == expected);
}

TEST_F(RoundTrip, ADryRunWritesNothing) {
  write_tiny_model(dir_ / "source");
  auto options = run_options<ConvertOptions>(dir_ / "source", dir_ / "megatron");
  options.dry_run = true;
  EXPECT_EQ(convert_hf(fs_, options).json["source_tensors"], 12);
  EXPECT_EQ(fs_.list(dir_.path()), std::vector<std::string>{"source"});
}

}  // namespace
}  // namespace bridge
