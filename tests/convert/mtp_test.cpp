// Tests that conversions keep the promises of multi-token prediction: they find as many depths as
// config.json says, or fail with an error that names --mtp drop, in both directions. The copies of
// embedding and head that each depth has on the Hugging Face side are checked, left out and
// restored.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/convert/verify_hash.h"
#include "tests/convert/tiny_moe.h"

namespace bridge {
namespace {

// The number of tensors of a depth without its two copies.
constexpr int kTensorsOfADepth = 9 + 2 + 3 * 3 + 4;

std::string layer_of(int depth) {
  return "model.layers." + std::to_string(kDeepSeekLayers + depth) + ".";
}

class MtpTest : public testing::TestWithParam<int> {
 protected:
  // Writes the tensors of `there` depths, whatever the configuration says.
  void write(const Path& folder, const nlohmann::ordered_json& config, int there) const {
    std::filesystem::remove_all(folder);
    write_hf_folder(folder, config, deepseek_tensors(there));
  }

  // Writes the decoder into one shard and each depth into one of its own.
  void write_in_shards(const Path& folder, int depths) const {
    put_file(folder / "config.json", deepseek_config(depths).dump(2));
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    const std::vector<NamedTensor> all = deepseek_tensors(depths);
    for (int shard = -1; shard < depths; ++shard) {
      std::vector<NamedTensor> part;
      const std::string file = "model-" + std::to_string(shard + 2) + ".safetensors";
      for (const NamedTensor& tensor : all) {
        if (shard_of(tensor.name, depths) != shard) continue;
        part.push_back(tensor);
        map[tensor.name] = file;
      }
      put_file(folder / file, safetensors_file(part));
    }
    put_file(folder / "model.safetensors.index.json",
             nlohmann::ordered_json{{"weight_map", map}}.dump());
  }
  static int shard_of(const std::string& name, int depths) {
    for (int depth = 0; depth < depths; ++depth) {
      if (name.starts_with(layer_of(depth))) return depth;
    }
    return -1;
  }

  Report convert(const Path& source, const Path& target, bool keep = true) {
    auto options = run_options<ConvertOptions>(source, target);
    options.keep_mtp = keep;
    return convert_hf(fs_, options);
  }
  Report export_again(const Path& source, const Path& target, bool keep = true,
                      const Path& reference = {}) {
    auto options = run_options<ExportOptions>(source, target);
    options.keep_mtp = keep;
    options.reference = reference;
    return export_to_hf(fs_, options);
  }
  Report verify(const Path& a, const Path& b) {
    VerifyOptions options;
    options.a = a;
    options.b = b;
    options.threads = 1;
    options.quiet = true;
    options.progress = ProgressMode::kNever;
    return verify_hash(fs_, options);
  }

  // Expects a refusal that says what to do about it.
  template <typename Fn>
  void names_the_option(const std::string& part, Fn&& fn) {
    const Error e = expect_error(Code::kBadInput, part, fn);
    EXPECT_NE(e.hint().find("--mtp drop"), std::string::npos) << e.message() << e.hint();
  }

  Path config_only(const nlohmann::ordered_json& config) const {
    put_file(dir_ / "config_only/config.json", config.dump());
    return dir_ / "config_only";
  }

  nlohmann::ordered_json json_of(const Path& path) const {
    return nlohmann::ordered_json::parse(file_content(path));
  }

  TempDir dir_;
  FastFileSystem fs_;
};

TEST_P(MtpTest, ThereAndBack) {
  const int depths = GetParam();
  write_in_shards(dir_ / "hf", depths);
  const Report report = convert(dir_ / "hf", dir_ / "megatron");
  EXPECT_EQ(report.json["dropped"].size(), static_cast<size_t>(2 * depths));
  const MegatronFolder written = open_checkpoint(dir_ / "megatron");
  int64_t keys = 0;
  for (const DcpTensor& tensor : written.metadata.tensors) {
    keys += tensor.key.starts_with("mtp.layers.") ? 1 : 0;
  }
  EXPECT_EQ(keys, depths * (8 + 7 + 4));  // attention, MoE with its norm, frame
  export_again(dir_ / "megatron", dir_ / "back");
  EXPECT_EQ(first_difference(tree(dir_ / "hf"), tree(dir_ / "back")), "");
  const Report compared = verify(dir_ / "hf", dir_ / "megatron");
  EXPECT_FALSE(compared.difference);
  EXPECT_FALSE(compared.json.contains("mtp"));
}

// Tests more and fewer depths in config.json than there are.
TEST_P(MtpTest, PromisesAreKeptOnConvert) {
  const int there = GetParam();
  for (int promised = 0; promised <= 4; ++promised) {
    if (promised == there) continue;
    SCOPED_TRACE(promised);
    write(dir_ / "hf", deepseek_config(promised), there);
    const std::string part =
        promised > there ? "config.json promises " + std::to_string(promised) +
                               " MTP layers (num_nextn_predict_layers), but there are no tensors " +
                               layer_of(there) + "*"
                         : std::to_string(kTensorsOfADepth + 2) + " tensors " + layer_of(promised) +
                               "* of MTP layer " + std::to_string(promised) +
                               ", but config.json promises " + std::to_string(promised);
    names_the_option(part, [&] { convert(dir_ / "hf", dir_ / "megatron"); });
    EXPECT_FALSE(fs_.stat(dir_ / "megatron"));

    const Report report = convert(dir_ / "hf", dir_ / "megatron", false);
    EXPECT_EQ(report.json["dropped_mtp_tensors"], there * (kTensorsOfADepth + 2));
    std::filesystem::remove_all(dir_ / "megatron");
  }
}

TEST_P(MtpTest, PromisesAreKeptOnExport) {
  const int there = GetParam();
  write(dir_ / "hf", deepseek_config(there), there);
  convert(dir_ / "hf", dir_ / "megatron");
  for (int promised = 0; promised <= 4; ++promised) {
    if (promised == there) continue;
    SCOPED_TRACE(promised);
    const Path reference = config_only(deepseek_config(promised));
    const std::string depth = std::to_string(std::min(promised, there));
    names_the_option(promised > there
                         ? "MTP layers (num_nextn_predict_layers), but there are no tensors "
                           "mtp.layers." +
                               depth + ".*"
                         : "19 tensors mtp.layers." + depth + ".* of MTP layer " + depth,
                     [&] { export_again(dir_ / "megatron", dir_ / "back", true, reference); });
    EXPECT_FALSE(fs_.stat(dir_ / "back"));

    std::filesystem::remove_all(dir_ / "megatron/causeway");  // its shards have MTP
    export_again(dir_ / "megatron", dir_ / "back", false, reference);
    EXPECT_EQ(hf_tensors(dir_ / "back").size(), deepseek_tensors(0).size());
    EXPECT_EQ(json_of(dir_ / "back/config.json"), deepseek_config(0));
    std::filesystem::remove_all(dir_ / "back");
  }
}

// Depths are dropped during the conversion, during the export, or both; shards without MTP are the
// source's own files.
TEST_P(MtpTest, DroppedTheRestIsUntouched) {
  const int depths = GetParam();
  write_in_shards(dir_ / "hf", depths);
  convert(dir_ / "hf", dir_ / "whole");
  convert(dir_ / "hf", dir_ / "less", false);
  EXPECT_EQ(json_of(dir_ / "whole/causeway/manifest.json")["choices"]["mtp"], "keep");
  EXPECT_EQ(json_of(dir_ / "less/causeway/manifest.json")["choices"]["mtp"], "drop");
  // The conversion recorded it, and the checkpoint says that it has none: no need to ask again.
  export_again(dir_ / "less", dir_ / "not_asked");

  export_again(dir_ / "whole", dir_ / "from_whole", false);
  export_again(dir_ / "less", dir_ / "from_less", false);
  EXPECT_EQ(first_difference(tree(dir_ / "from_whole"), tree(dir_ / "from_less")), "");
  EXPECT_EQ(first_difference(tree(dir_ / "not_asked"), tree(dir_ / "from_less")), "");
  const Tree before = tree(dir_ / "hf");
  const Tree after = tree(dir_ / "from_less");
  EXPECT_EQ(after.at("model-1.safetensors"), before.at("model-1.safetensors"));
  std::map<std::string, std::string> expected = hf_tensors(dir_ / "hf");
  std::erase_if(expected, [&](const auto& t) { return shard_of(t.first, depths) >= 0; });
  EXPECT_TRUE(hf_tensors(dir_ / "from_less") == expected);

  // Only the count differs; the file is otherwise the source's text.
  std::string text = before.at("config.json");
  const std::string count = "\"num_nextn_predict_layers\": ";
  text.replace(text.find(count) + count.size(), 1, "0");
  EXPECT_EQ(after.at("config.json"), text + "\n");

  const Report report = verify(dir_ / "hf", dir_ / "less");
  EXPECT_FALSE(report.difference);
  EXPECT_EQ(report.json["mtp"], "dropped");
  // The tensors that exist are still compared.
  edit_item(dir_ / "less", "decoder.final_layernorm.weight", 0,
            [](std::string& payload) { payload[0] = static_cast<char>(payload[0] ^ 1); });
  EXPECT_TRUE(verify(dir_ / "hf", dir_ / "less").difference);
}

// Every copy of every depth is compared, wherever it differs.
TEST_P(MtpTest, CopiesMustRepeat) {
  const int depths = GetParam();
  const std::vector<NamedTensor> tensors = deepseek_tensors(depths);
  int copies = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool embedding = tensors[i].name.ends_with(".embed_tokens.weight");
    if (!tensors[i].name.starts_with("model.layers.") ||
        (!embedding && !tensors[i].name.ends_with(".shared_head.head.weight"))) {
      continue;
    }
    ++copies;
    for (const size_t byte : {size_t{0}, tensors[i].bytes.size() - 1}) {
      std::vector<NamedTensor> changed = tensors;
      changed[i].bytes[byte] = static_cast<char>(changed[i].bytes[byte] ^ 1);
      std::filesystem::remove_all(dir_ / "hf");
      write_hf_folder(dir_ / "hf", deepseek_config(depths), changed);
      const std::string original = embedding ? "model.embed_tokens.weight" : "lm_head.weight";
      expect_error(Code::kBadInput, tensors[i].name + ": differs from " + original,
                   [&] { convert(dir_ / "hf", dir_ / "megatron"); });
      EXPECT_FALSE(fs_.stat(dir_ / "megatron"));
    }
    // An absent copy is not a loss, and does not come back either.
    std::vector<NamedTensor> without = tensors;
    without.erase(without.begin() + static_cast<long>(i));
    for (const char* folder : {"hf", "megatron", "back"}) {
      std::filesystem::remove_all(dir_ / folder);
    }
    write_hf_folder(dir_ / "hf", deepseek_config(depths), without);
    convert(dir_ / "hf", dir_ / "megatron");
    export_again(dir_ / "megatron", dir_ / "back");
    EXPECT_EQ(first_difference(tree(dir_ / "hf"), tree(dir_ / "back")), "");
    std::filesystem::remove_all(dir_ / "megatron");
  }
  EXPECT_EQ(copies, 2 * depths);
}

// Only the configuration shows that the copies existed, and every release has them.
TEST_P(MtpTest, AConfigurationAloneMakesTheCopiesAgain) {
  const int depths = GetParam();
  write(dir_ / "hf", deepseek_config(depths), depths);
  convert(dir_ / "hf", dir_ / "megatron");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  export_again(dir_ / "megatron", dir_ / "back", true, config_only(deepseek_config(depths)));
  EXPECT_TRUE(hf_tensors(dir_ / "back") == hf_tensors(dir_ / "hf"));
}

INSTANTIATE_TEST_SUITE_P(Depths, MtpTest, testing::Values(1, 2, 3));

// The numbers of depths continue those of the decoder's layers, so a count that is too small makes
// layers look like depths.
TEST_F(MtpTest, DroppingTakesNoDecoderLayer) {
  for (int layers = 0; layers < kDeepSeekLayers; ++layers) {
    auto config = deepseek_config(1);
    config["num_hidden_layers"] = layers;
    write(dir_ / "hf", config, 1);
    expect_error(Code::kBadInput,
                 "model.layers." + std::to_string(layers) + ".*, which are those of an ordinary",
                 [&] { convert(dir_ / "hf", dir_ / "megatron", false); });
  }
}

// A depth that lost some tensors is not a depth that was left out.
TEST_F(MtpTest, ATensorOfADepthIsMissedByItsName) {
  auto tensors = deepseek_tensors(2);
  std::erase_if(tensors, [](const auto& t) { return t.name == layer_of(1) + "hnorm.weight"; });
  write_hf_folder(dir_ / "hf", deepseek_config(2), tensors);
  expect_error(Code::kBadInput, "1 missing (" + layer_of(1) + "hnorm.weight)",
               [&] { convert(dir_ / "hf", dir_ / "megatron"); });
}

}  // namespace
}  // namespace bridge
