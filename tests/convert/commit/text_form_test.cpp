// Tests export-to-hf --parts text: the text model of a multimodal model becomes a model of its own,
// which converts like any other.
#include "tests/convert/vision_model.h"

namespace bridge {
namespace {

// Repeats what the table says about TinyText.
nlohmann::ordered_json text_config() {
  return {{"model_type", "tiny_text"},
          {"num_layers", 2},
          {"tie", false},
          {"quantization_config",
           {{"quant_method", "fp8"},
            {"skip", {"model.visual.patch", "model.layers.0.norm", "lm_head"}}}},
          {"architectures", {"TinyText"}}};
}

class TextFormTest : public VisionTest {
 protected:
  void expect_text_model(const std::string& folder) {
    std::map<std::string, std::string> expected;
    for (const NamedTensor& tensor : text_tensors("model.")) {
      expected[tensor.name] = std::string(safetensors_name(tensor.dtype)) + " " +
                              shape_text(tensor.shape) + " " + tensor.bytes;
    }
    EXPECT_TRUE(hf_tensors(dir_ / folder) == expected) << folder;
    EXPECT_EQ(read_json(folder + "/config.json").dump(2), text_config().dump(2)) << folder;
    EXPECT_TRUE(fs_.stat(dir_ / folder / "tokenizer.json"));
  }
};

TEST_F(TextFormTest, OfAnyConversion) {
  convert("all");
  convert("text", true);
  convert("prefixed", true, "language_model.");
  for (const std::string folder : {"all", "text", "prefixed"}) {
    const Report report = export_text(folder, folder + "_hf");
    expect_text_model(folder + "_hf");
    EXPECT_EQ(report.json["text_form"], true);
    EXPECT_EQ(report.json["dropped_part_tensors"], folder == "all" ? 5 : 0);
    EXPECT_TRUE(report.warnings.empty());
  }
}

TEST_F(TextFormTest, IsAModelOfItsOwn) {
  convert("text", true);
  export_text("text", "hf");
  // The converted text model equals the text part of the whole model's conversion.
  convert("again", false, {}, "hf");
  EXPECT_EQ(keys("text"), keys("again"));
  EXPECT_FALSE(verify("hf", "again").difference);
  EXPECT_FALSE(verify("hf", "text").difference);
  export_again("again", "hf_again");
  EXPECT_EQ(difference("hf", "hf_again"), "");
  // --parts text has nothing to leave out of it.
  convert("once_more", true, {}, "hf");
  EXPECT_EQ(difference("again/iter_0000000", "once_more/iter_0000000"), "");
  export_text("once_more", "hf_once_more");
  EXPECT_EQ(difference("hf", "hf_once_more"), "");
}

TEST_F(TextFormTest, OfAReference) {
  convert("text", true);
  edit_item(dir_ / "text", kFirstQkv, 0, [](std::string& data) { data[0] ^= 1; });
  export_text("text", "hf");
  std::filesystem::remove_all(dir_ / "text/causeway");
  ExportOptions options = export_options("text", "by_reference");
  options.text_only = true;
  options.reference = dir_ / "source";
  const Report report = export_to_hf(fs_, options);
  auto expected = hf_tensors(dir_ / "hf");
  expected.erase("model.inv_freq");  // no row reads it: only the sidecar keeps it
  EXPECT_TRUE(hf_tensors(dir_ / "by_reference") == expected);
  EXPECT_EQ(report.json["left_out"].size(), 1U);
}

TEST_F(TextFormTest, WithAnotherDtypeAndVocabulary) {
  convert("all");
  ExportOptions options = export_options("all", "hf");
  options.text_only = true;
  options.dtype = Dtype::kF32;
  options.vocab_rows = 5;
  export_to_hf(fs_, options);
  const auto config = read_json("hf/config.json");
  EXPECT_EQ(config["dtype"], "float32");
  EXPECT_EQ(config["vocab_size"], 5);
  EXPECT_FALSE(config.contains("quantization_config"));
  const auto tensors = hf_tensors(dir_ / "hf");
  EXPECT_TRUE(tensors.at("model.embed.weight").starts_with("F32 [5, 4]"));
  EXPECT_FALSE(tensors.contains("model.layers.0.fc.weight_scale_inv"));
}

TEST_F(TextFormTest, ATableThatDoesNotSayIt) {
  convert("all");
  std::string table = kVisionTable;
  const size_t at = table.find("\"text_form\"");
  table.replace(at, table.find("\"quantization\"") - at, "");
  put_file(dir_ / "table.jsonc", table);
  expect_error(Code::kUnsupported, "--parts text", [&] { export_text("all", "hf"); });
  export_again("all", "hf");
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(TextFormTest, TiedEmbeddingsStayTied) {
  nlohmann::ordered_json tied = config();
  tied["tie"] = true;
  std::vector<NamedTensor> tensors = all_tensors();
  tensors.back().bytes = tensors.front().bytes;  // lm_head, a copy
  std::filesystem::remove_all(dir_ / "source");
  write_hf_folder(dir_ / "source", tied, tensors);
  convert("text", true);
  export_again("text", "whole");
  EXPECT_EQ(difference("source", "whole"), "");
  export_text("text", "hf");
  EXPECT_EQ(read_json("hf/config.json")["tie"], true);
  const auto found = hf_tensors(dir_ / "hf");
  EXPECT_EQ(found.at("lm_head.weight"), found.at("model.embed.weight"));
}

}  // namespace
}  // namespace bridge
