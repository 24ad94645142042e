// Converts a multimodal model with and without its vision tower, in both directions: keys and their
// prefix, what --parts text leaves out and restores, and what verify says about it.
#include "tests/convert/vision_model.h"

namespace bridge {
namespace {

const std::vector<std::string> kTextKeys = {
    "decoder.layers.0.linear_fc.weight",  "decoder.layers.0.linear_qkv.weight",
    "decoder.layers.0.norm.weight",       "decoder.layers.1.linear_fc.weight",
    "decoder.layers.1.linear_qkv.weight", "decoder.layers.1.norm.weight",
    "embedding.word_embeddings.weight",   "output_layer.weight"};
const std::vector<std::string> kVisionKeys = {"vision_model.layers.linear_qkv.weight",
                                              "vision_model.layers.norm.weight",
                                              "vision_model.patch.weight"};

std::vector<std::string> with_prefix(const std::vector<std::string>& names) {
  std::vector<std::string> prefixed;
  for (const std::string& name : names) prefixed.push_back("language_model." + name);
  return prefixed;
}

std::vector<std::string> joined(std::vector<std::string> names,
                                const std::vector<std::string>& more) {
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

std::string choices(const nlohmann::ordered_json& manifest) {
  return manifest["choices"]["name_prefix"].get<std::string>() + " " +
         manifest["choices"]["parts"].get<std::string>();
}

TEST_F(VisionTest, KeysOfTheWholeModel) {
  convert("megatron");
  EXPECT_EQ(keys("megatron"), joined(with_prefix(kTextKeys), kVisionKeys));
  // The vision tower is stacked although the text model is not.
  const MegatronFolder folder = open_checkpoint(dir_ / "megatron");
  ASSERT_NE(folder.find(kVisionNorm), nullptr);
  EXPECT_EQ(folder.find(kVisionNorm)->shape, (Shape{2, 4}));
  const std::string metadata = file_content(dir_ / "megatron/iter_0000000/.metadata");
  for (const char* object : {"language_model.decoder.layers.0.linear_qkv._extra_state/shard_0_1",
                             "language_model.decoder.layers.1.linear_qkv._extra_state/shard_0_1",
                             "vision_model.layers.linear_qkv._extra_state/shard_0_2",
                             "vision_model.layers.linear_qkv._extra_state/shard_1_2",
                             "vision_model.patch._extra_state/shard_0_1"}) {
    EXPECT_NE(metadata.find(object), std::string::npos) << object;
  }
  const Path dist = dir_ / "megatron/iter_0000000";
  EXPECT_NE(file_content(dist / "run_config.yaml").find("some.VisionProvider"), std::string::npos);
  EXPECT_EQ(file_content(dist / "common.pt").find("non_homogeneous_layers"), std::string::npos);
  EXPECT_EQ(choices(read_json("megatron/causeway/manifest.json")), "language_model. all");
  EXPECT_FALSE(verify("source", "megatron").difference);
}

TEST_F(VisionTest, KeysOfTheTextModel) {
  const Report report = convert("megatron", true);
  EXPECT_EQ(keys("megatron"), kTextKeys);
  const Path dist = dir_ / "megatron/iter_0000000";
  const std::string metadata = file_content(dist / ".metadata");
  EXPECT_EQ(metadata.find("vision"), std::string::npos);
  EXPECT_EQ(metadata.find("language_model."), std::string::npos);
  EXPECT_NE(metadata.find("decoder.layers.1.linear_qkv._extra_state/shard_0_1"), std::string::npos);
  EXPECT_NE(file_content(dist / "run_config.yaml").find("some.TextProvider"), std::string::npos);
  EXPECT_NE(file_content(dist / "common.pt").find("non_homogeneous_layers"), std::string::npos);
  EXPECT_EQ(choices(read_json("megatron/causeway/manifest.json")), " text");
  const auto left = report.json["parts_left_out"]["vision"];
  EXPECT_EQ(left["tensors"], kVisionTensors);
  EXPECT_EQ(left["missing"], 0);
}

TEST_F(VisionTest, ThePrefixAsAsked) {
  convert("none", false, "");
  EXPECT_EQ(keys("none"), joined(kTextKeys, kVisionKeys));
  convert("text", true, "language_model.");
  EXPECT_EQ(keys("text"), with_prefix(kTextKeys));
  EXPECT_EQ(choices(read_json("text/causeway/manifest.json")), "language_model. text");
  for (const char* folder : {"none", "text"}) {
    export_again(folder, folder + std::string("_hf"));
    EXPECT_EQ(difference("source", folder + std::string("_hf")), "") << folder;
    EXPECT_FALSE(verify("source", folder).difference) << folder;
  }
}

TEST_F(VisionTest, UntouchedRoundTripsGiveTheSameFiles) {
  for (const bool text_only : {false, true}) {
    convert("megatron", text_only);
    for (const int threads : {1, 3}) {
      const Report report = export_again("megatron", "hf", threads, 4 << 20);
      EXPECT_EQ(difference("source", "hf"), "") << text_only;
      EXPECT_EQ(report.warnings.size(), text_only ? 1U : 0U);
      EXPECT_EQ(report.json["put_back_tensors"], text_only ? kVisionTensors : 0);
      std::filesystem::remove_all(dir_ / "hf");
    }
    std::filesystem::remove_all(dir_ / "megatron");
  }
}

TEST_F(VisionTest, ATrainedTextModelGetsItsVisionTowerBack) {
  convert("megatron", true);
  edit_item(dir_ / "megatron", kFirstQkv, 0, [](std::string& data) { data[0] = 0x55; });
  const Report report = export_again("megatron", "hf");
  std::vector<NamedTensor> expected = all_tensors();
  for (NamedTensor& tensor : expected) {
    if (tensor.name == "model.language_model.layers.0.q.weight") tensor.bytes[0] = 0x55;
  }
  write(expected, "expected");
  EXPECT_EQ(difference("expected", "hf"), "");
  EXPECT_EQ(report.json["put_back_tensors"], kVisionTensors);
  EXPECT_EQ(report.warnings, std::vector<std::string>{
                                 "the checkpoint has no tensor of its vision; 9 tensors are put "
                                 "back from the sidecar"});
}

TEST_F(VisionTest, AnotherDtypeIsThatOfAllPlainTensors) {
  convert("all");
  convert("text", true);
  for (const char* folder : {"all", "text"}) {
    ExportOptions options = export_options(folder, folder + std::string("_hf"));
    options.dtype = Dtype::kF32;
    export_to_hf(fs_, options);
  }
  EXPECT_EQ(difference("all_hf", "text_hf"), "");
  EXPECT_TRUE(hf_tensors(dir_ / "text_hf").at("model.visual.patch.weight").starts_with("F32 "));
}

TEST_F(VisionTest, VerifyComparesWhatIsThere) {
  convert("megatron", true);
  const Report with_sidecar = verify("source", "megatron");
  EXPECT_FALSE(with_sidecar.difference);
  EXPECT_EQ(with_sidecar.json["parts"], "text");
  // The bytes of the vision tower are compared with those that the sidecar keeps.
  std::vector<NamedTensor> other = all_tensors();
  for (NamedTensor& tensor : other) {
    if (tensor.name == "model.visual.blocks.1.k.weight") tensor.bytes[3] ^= 1;
  }
  write(other, "other");
  EXPECT_TRUE(verify("other", "megatron").difference);

  std::filesystem::remove_all(dir_ / "megatron/causeway");
  const Report without = verify("source", "megatron");
  EXPECT_FALSE(without.difference);
  EXPECT_EQ(without.json["parts"], "text");
  EXPECT_FALSE(verify("other", "megatron").difference);  // no other source is available here
  edit_item(dir_ / "megatron", kFirstQkv, 0, [](std::string& data) { data[0] ^= 1; });
  EXPECT_TRUE(verify("source", "megatron").difference);
}

TEST_F(VisionTest, VerifyMissesAVisionTowerWhereThereShouldBeOne) {
  // The keys are those of the whole model without its vision tower, which is not a text model of
  // its own.
  convert("megatron", true, "language_model.");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  EXPECT_TRUE(verify("source", "megatron").difference);
}

TEST_F(VisionTest, ASourceWithoutTheVisionTowerThatItPromises) {
  write(text_tensors());
  const Error error = expect_error(Code::kBadInput, "missing", [&] { convert("megatron"); });
  EXPECT_NE(error.message().find("model.visual.blocks.0.q.weight"), std::string::npos);
  const Report report = convert("megatron", true);
  EXPECT_EQ(report.json["parts_left_out"]["vision"]["missing"], kVisionTensors);
  ASSERT_EQ(report.warnings.size(), 1U);
  expect_error(Code::kBadInput, "the sidecar keeps 0", [&] { export_again("megatron", "hf"); });
  EXPECT_FALSE(fs_.stat(dir_ / "hf"));
}

TEST_F(VisionTest, AVisionTensorOfAnotherShapeStopsEveryConversion) {
  std::vector<NamedTensor> tensors = all_tensors();
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == "model.visual.patch.weight") tensor.shape = {2, 8};
  }
  write(tensors);
  for (const bool text_only : {false, true}) {
    expect_error(Code::kBadInput, "model.visual.patch.weight: shape [2, 8]",
                 [&] { convert("megatron", text_only); });
  }
}

TEST_F(VisionTest, AnUnknownVisionTensorStopsEveryConversion) {
  std::vector<NamedTensor> tensors = all_tensors();
  tensors.push_back({"model.visual.blocks.2.norm.weight", Dtype::kF32, {1}, std::string(4, 'x')});
  write(tensors);
  for (const bool text_only : {false, true}) {
    expect_error(Code::kBadInput, "1 unknown (model.visual.blocks.2.norm.weight)",
                 [&] { convert("megatron", text_only); });
  }
}

}  // namespace
}  // namespace bridge
