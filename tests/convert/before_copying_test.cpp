// Tests that everything that can be refused before a byte is copied is refused by then: by
// --dry-run, and by the run itself, which has not created a file yet.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/io/sidecar/sidecar.h"
#include "tests/convert/tiny_moe.h"
#include "tests/convert/vision_model.h"

namespace bridge {
namespace {

// Expects run(fs, dry_run) to throw before it creates anything.
void expect_early(Code code, const std::string& message,
                  const std::function<void(FaultFileSystem&, bool)>& run) {
  for (const bool dry_run : {true, false}) {
    SCOPED_TRACE(dry_run ? "dry run" : "run");
    FastFileSystem fs;
    expect_error(code, message, [&] { run(fs, dry_run); });
    for (const std::string& operation : fs.log()) {
      EXPECT_FALSE(operation.starts_with("create") || operation.starts_with("make_dir"))
          << operation;
    }
  }
}

// Returns the number of the first operation that opens a file with this name.
int64_t opens(const FaultFileSystem& fs, const std::string& name) {
  const std::vector<std::string> log = fs.log();
  const auto found = std::find_if(log.begin(), log.end(), [&](const std::string& operation) {
    return operation.starts_with("open ") && operation.ends_with("/" + name);
  });
  EXPECT_NE(found, log.end()) << name << " is not opened";
  return found - log.begin() + 1;
}

class BeforeCopyingTest : public testing::Test {
 protected:
  BeforeCopyingTest() { write_tiny_model(dir_ / "tiny"); }

  ConvertOptions convert_options(const std::string& source, bool dry_run) const {
    auto options = run_options<ConvertOptions>(dir_ / source, dir_ / "out");
    options.dry_run = dry_run;
    return options;
  }

  ExportOptions export_options(bool dry_run) const {
    auto options = run_options<ExportOptions>(dir_ / "megatron", dir_ / "out");
    options.dry_run = dry_run;
    return options;
  }

  void convert_tiny() {
    FastFileSystem fs;
    convert_hf(fs, run_options<ConvertOptions>(dir_ / "tiny", dir_ / "megatron"));
  }

  void edit_config(const std::string& source,
                   const std::function<void(nlohmann::ordered_json&)>& edit) const {
    auto config = nlohmann::ordered_json::parse(file_content(dir_ / source / "config.json"));
    edit(config);
    put_file(dir_ / source / "config.json", config.dump());
  }

  TempDir dir_;
};

TEST_F(BeforeCopyingTest, TheMegatronConfiguration) {
  write_qwen3_moe_fp8(dir_ / "moe");
  edit_config("moe", [](auto& config) { config["rope_scaling"] = {{"rope_type", "linear"}}; });
  expect_early(Code::kBadInput, "factor is missing", [&](FileSystem& fs, bool dry_run) {
    convert_hf(fs, convert_options("moe", dry_run));
  });
}

TEST_F(BeforeCopyingTest, AFieldThatLoadersNeed) {
  std::string table = kVisionTable;
  const std::string field = R"("hidden_size": "4", )";
  table.erase(table.find(field), field.size());
  put_file(dir_ / "table.jsonc", table);
  write_hf_folder(dir_ / "vision",
                  {{"vision_config", nullptr}, {"text_config", {{"num_layers", 0}}}},
                  {{"model.embed.weight", Dtype::kBF16, {7, 4}, std::string(56, 'x')},
                   {"lm_head.weight", Dtype::kBF16, {7, 4}, std::string(56, 'x')}});
  expect_early(Code::kBadInput, "megatron_config of the table lacks hidden_size",
               [&](FileSystem& fs, bool dry_run) {
                 ConvertOptions options = convert_options("vision", dry_run);
                 options.mapping = dir_ / "table.jsonc";
                 convert_hf(fs, options);
               });
}

TEST_F(BeforeCopyingTest, AnIntegerThatNoPickleHolds) {
  edit_config("tiny", [](auto& config) {
    config["max_position_embeddings"] = std::numeric_limits<uint64_t>::max();
  });
  expect_early(Code::kBadInput, "18446744073709551615", [&](FileSystem& fs, bool dry_run) {
    convert_hf(fs, convert_options("tiny", dry_run));
  });
}

TEST_F(BeforeCopyingTest, PublishedHashesOfOtherShards) {
  put_file(dir_ / "hashes", std::string(64, '0') + "  other.safetensors\n");
  expect_early(Code::kBadInput, "other.safetensors is no shard of the source",
               [&](FileSystem& fs, bool dry_run) {
                 ConvertOptions options = convert_options("tiny", dry_run);
                 options.expect = dir_ / "hashes";
                 convert_hf(fs, options);
               });
}

TEST_F(BeforeCopyingTest, ASidecarInsideTheOutput) {
  for (const char* target : {"out", "out/", "./out/."}) {
    expect_early(Code::kUsage, "--sidecar lies inside the output folder",
                 [&](FileSystem& fs, bool dry_run) {
                   ConvertOptions options = convert_options("tiny", dry_run);
                   options.target = dir_ / target;
                   options.sidecar = dir_ / "out" / "x" / "causeway";
                   convert_hf(fs, options);
                 });
  }
}

TEST_F(BeforeCopyingTest, AnIterationToReplaceThatIsNotThere) {
  expect_early(Code::kUsage, "iter_0000000: there is no earlier conversion to replace",
               [&](FileSystem& fs, bool dry_run) {
                 ConvertOptions options = convert_options("tiny", dry_run);
                 options.overwrite_iteration = true;
                 convert_hf(fs, options);
               });
}

TEST_F(BeforeCopyingTest, ASideFileThatCannotBeRead) {
  FastFileSystem whole;
  convert_hf(whole, convert_options("tiny", true));
  const int64_t number = opens(whole, "tokenizer.json");
  expect_early(Code::kIo, "tokenizer.json", [&](FaultFileSystem& fs, bool dry_run) {
    fs.fail_at(number, EACCES);
    convert_hf(fs, convert_options("tiny", dry_run));
  });
}

TEST_F(BeforeCopyingTest, ASideFileThatAnExportCannotRead) {
  convert_tiny();
  put_file(dir_ / "reference/config.json", file_content(dir_ / "tiny/config.json"));
  put_file(dir_ / "reference/merges.txt", "x");
  const auto run = [&](FileSystem& fs, bool dry_run) {
    ExportOptions options = export_options(dry_run);
    options.reference = dir_ / "reference";
    export_to_hf(fs, options);
  };
  FastFileSystem whole;
  run(whole, true);
  const int64_t number = opens(whole, "merges.txt");
  expect_early(Code::kIo, "merges.txt", [&](FaultFileSystem& fs, bool dry_run) {
    fs.fail_at(number, EACCES);
    run(fs, dry_run);
  });
}

TEST_F(BeforeCopyingTest, AShardWithTheNameOfAFolder) {
  convert_tiny();
  put_file(dir_ / "reference/config.json", file_content(dir_ / "tiny/config.json"));
  put_file(dir_ / "reference/model.safetensors/notes.txt", "x");
  expect_early(Code::kBadInput, "model.safetensors: a shard to write, or its folder, has the name",
               [&](FileSystem& fs, bool dry_run) {
                 ExportOptions options = export_options(dry_run);
                 options.reference = dir_ / "reference";
                 options.max_shard_size = 1 << 30;
                 export_to_hf(fs, options);
               });
}

using VisionBeforeCopyingTest = VisionTest;

TEST_F(VisionBeforeCopyingTest, AConfigurationThatCannotBeMade) {
  std::string table = kVisionTable;
  const std::string model_type = R"("model_type": "tiny_text")";
  table.replace(table.find(model_type), model_type.size(), R"("model_type": "=no_such_key")");
  put_file(dir_ / "table.jsonc", table);
  convert("megatron");
  expect_early(Code::kBadInput, "no_such_key is missing", [&](FileSystem& fs, bool dry_run) {
    ExportOptions options = export_options("megatron", "out");
    options.text_only = true;
    options.dry_run = dry_run;
    export_to_hf(fs, options);
  });
}

// --- the sidecar ------------------------------------------------------------------------------

TEST(SidecarCheck, HeadersMustFitTheMemoryThatIsLeft) {
  TempDir dir;
  write_tiny_model(dir / "tiny", 4);
  MemoryBudget ample(16 << 20);
  const HfFolder source = open_hf_folder(real_file_system(), dir / "tiny", ample);
  const int64_t header = source.shards[0].payload_offset;
  MemoryBudget enough(header);
  check_sidecar(real_file_system(), {source, {}, ""}, enough);
  EXPECT_EQ(enough.used(), 0);
  MemoryBudget small(header - 1);
  expect_error(Code::kUsage, "is too small: the sidecar's headers", [&] {
    check_sidecar(real_file_system(), {source, {}, ""}, small);
  });
}

TEST(SidecarCheck, AManifestThatCouldNotBeReadAgain) {
  HfFolder source;
  source.path = "model";
  const std::string longest(250, 'x');
  for (int i = 0; i < 15'000; ++i) {
    source.large_side_files.push_back({longest + std::to_string(i), 1});
  }
  MemoryBudget budget(16 << 20);
  expect_error(Code::kUnsupported, "15000 side files: its manifest would take", [&] {
    check_sidecar(real_file_system(), {source, {}, ""}, budget);
  });
  source.large_side_files.resize(10'000);
  check_sidecar(real_file_system(), {source, {}, ""}, budget);
}

// --- fields of a custom table reach both outputs -------------------------------------------------

TEST_F(VisionBeforeCopyingTest, FieldsOfAnOwnTableReachBothOutputs) {
  std::string table = kVisionTable;
  const std::string last = R"("num_attention_heads": "2",)";
  table.insert(table.find(last),
               R"("softmax_type": "'learnable'", "window_attn_skip_freq": "[1, 0]",
                  "glu_linear_offset": "1.5", "recipe": {"_target_": "some.Recipe"}, )");
  put_file(dir_ / "table.jsonc", table);
  const Report report = convert("megatron");
  const Path dist = dir_ / "megatron/iter_0000000";
  const std::string yaml = file_content(dist / "run_config.yaml");
  for (const char* line : {"\n  softmax_type: learnable\n", "\n  glu_linear_offset: 1.5\n",
                           "\n  window_attn_skip_freq:\n  - 1\n  - 0\n", "_target_: some.Recipe"}) {
    EXPECT_NE(yaml.find(line), std::string::npos) << line;
  }
  MemoryBudget budget(64 << 20);
  const MegatronFolder folder = open_megatron(real_file_system(), dir_ / "megatron", "", budget);
  const PickleNode* args = folder.common->get("args");
  ASSERT_NE(args, nullptr);
  const PickleNode& state = *args->items.at(2);
  EXPECT_EQ(state.get("softmax_type")->text, "learnable");
  EXPECT_EQ(state.get("glu_linear_offset")->real, 1.5);
  const PickleNode* frequency = state.get("window_attn_skip_freq");
  ASSERT_EQ(frequency->items.size(), 2U);
  EXPECT_EQ(frequency->items[0]->integer, 1);
  EXPECT_EQ(frequency->items[1]->integer, 0);
  EXPECT_EQ(state.get("recipe"), nullptr);
  EXPECT_EQ(report.warnings, std::vector<std::string>{
                                 "table.jsonc: megatron_config: recipe: no argument of Megatron-LM "
                                 "holds it: run_config.yaml has it, common.pt has not"});
}

}  // namespace
}  // namespace bridge
