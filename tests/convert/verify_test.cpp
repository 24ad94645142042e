// verify --mode hash: a fresh conversion is identical; anything else is named.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/convert/convert.h"
#include "bridge/convert/verify_hash.h"
#include "bridge/io/torch_dist/dcp_metadata.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

const std::string kFc1 = "decoder.layers.mlp.linear_fc1.weight";

class VerifyTest : public testing::Test {
 protected:
  VerifyTest() {
    write_tiny_model(hf_, 2, false, 2);
    convert_hf(fs_, run_options<ConvertOptions>(hf_, megatron_));
  }

  HashSummary verify(const Path& a, const Path& b, int threads = 1) {
    auto options = VerifyOptions();
    options.a = a;
    options.b = b;
    options.threads = threads;
    options.quiet = true;
    options.progress = ProgressMode::kNever;
    return verify_hash(fs_, options);
  }

  // What it says differs, a line each.
  static std::string text(const HashSummary& report) {
    std::string all = report.misfit + "\n" + report.inverse_not_checked + "\n";
    const auto add = [&](const std::vector<HashSummary::Difference>& differences) {
      for (const auto& [name, what] : differences) all += name + ": " + what + "\n";
    };
    if (report.forward) add(report.forward->different);
    if (report.inverse) add(report.inverse->different);
    add(report.different_files);
    return all;
  }

  void expect_identical(const HashSummary& report) {
    EXPECT_FALSE(report.difference) << text(report);
    EXPECT_EQ(report.json["identical"], true);
  }

  void expect_difference(const std::vector<std::string>& names) {
    const HashSummary report = verify(hf_, megatron_);
    EXPECT_TRUE(report.difference);
    EXPECT_EQ(report.json["identical"], false);
    for (const std::string& name : names) {
      EXPECT_NE(text(report).find(name), std::string::npos) << name << " is not in\n"
                                                            << text(report);
    }
  }

  // Writes .metadata again after a change.
  void edit_metadata(const std::function<void(std::vector<DcpTensor>&)>& edit) {
    MegatronFolder folder = open_checkpoint(megatron_);
    edit(folder.metadata.tensors);
    std::string written;
    write_dcp_metadata(folder.metadata.files, folder.metadata.tensors, folder.metadata.objects,
                       [&](std::string_view piece) { written += piece; });
    put_file(folder.dist_dir / ".metadata", written);
  }

  TempDir dir_;
  FastFileSystem fs_;
  Path hf_ = dir_ / "hf";
  Path megatron_ = dir_ / "megatron";
};

TEST_F(VerifyTest, AFreshConversionIsIdenticalBothWays) {
  const HashSummary report = verify(hf_, megatron_);
  expect_identical(report);
  EXPECT_EQ(report.forward->tensors, 21U - 2 * 2 - 2);
  EXPECT_EQ(report.inverse->tensors, 21U);
  EXPECT_EQ(report.inverse_not_checked, "");
  expect_identical(verify(megatron_, hf_, 4));
}

TEST_F(VerifyTest, WithoutTheSidecarOneWayIsSaidToBeUnchecked) {
  std::filesystem::remove_all(megatron_ / "causeway");
  const HashSummary report = verify(hf_, megatron_);
  expect_identical(report);
  EXPECT_EQ(report.inverse_not_checked, "no sidecar");
  EXPECT_FALSE(report.inverse);
}

// The judgement of another implementation: Megatron-Bridge imported these.
TEST_F(VerifyTest, WhatBridgeWroteIsIdentical) {
  for (const char* name : {"qwen3_dense", "llama_tied"}) {
    expect_identical(verify(kData / "bridge_written" / name / "hf",
                            kData / "bridge_written" / name / "megatron"));
  }
}

// The item of layer 1's up half, its CRC right.
TEST_F(VerifyTest, OneBitIsADifference) {
  edit_item(megatron_, kFc1, 3,
            [](std::string& data) { data[10] = static_cast<char>(data[10] ^ 4); });
  // 48 gate elements come before; byte 10 is in element 5.
  expect_difference({"decoder.layers.1.mlp.linear_fc1.weight: 1 elements, the first is number 53"});
}

TEST_F(VerifyTest, GateAndUpSwappedIsADifference) {
  std::string gate;
  std::string up;
  edit_item(megatron_, kFc1, 0, [&](std::string& data) { gate = data; });
  edit_item(megatron_, kFc1, 1, [&](std::string& data) {
    std::swap(up, data);
    data = gate;
  });
  edit_item(megatron_, kFc1, 0, [&](std::string& data) { data = up; });
  expect_difference({"decoder.layers.0.mlp.linear_fc1.weight: "});
}

TEST_F(VerifyTest, QueryGroupsSwappedIsADifference) {
  edit_item(megatron_, "decoder.layers.self_attention.linear_qkv.weight", 0, [](std::string& data) {
    std::rotate(data.begin(), data.begin() + std::ssize(data) / 2, data.end());
  });
  expect_difference({"decoder.layers.0.self_attention.linear_qkv.weight: "});
}

TEST_F(VerifyTest, ADamagedCrcIsBadInput) {
  edit_item(
      megatron_, kFc1, 2, [](std::string& data) { data[0] = static_cast<char>(data[0] ^ 1); },
      false);
  expect_error(Code::kBadInput, kFc1, [&] { verify(hf_, megatron_); });
}

TEST_F(VerifyTest, AMissingKeyIsADifference) {
  edit_metadata([](std::vector<DcpTensor>& tensors) {
    std::erase_if(tensors, [](const DcpTensor& t) { return t.key == "output_layer.weight"; });
  });
  expect_difference({"1 missing (output_layer.weight)"});
}

TEST_F(VerifyTest, AnExtraKeyIsADifference) {
  edit_metadata([](std::vector<DcpTensor>& tensors) {
    tensors.push_back(tensors.back());
    tensors.back().key = "zzz.weight";
  });
  expect_difference({"1 unknown (zzz.weight)"});
}

TEST_F(VerifyTest, AChangedSideFileIsADifference) {
  put_file(hf_ / "tokenizer.json", "{\"version\": \"1.1\"}");
  expect_difference({"tokenizer.json: the sidecar has other bytes"});
}

TEST_F(VerifyTest, AnotherSourceIsADifference) {
  const auto config = nlohmann::ordered_json::parse(file_content(hf_ / "config.json"));
  auto tensors = tiny_tensors(2, false, Dtype::kBF16, random_bytes(1));
  tensors[11].bytes[0] = static_cast<char>(tensors[11].bytes[0] ^ 1);  // q_proj of layer 1
  ASSERT_EQ(tensors[11].name, "model.layers.1.self_attn.q_proj.weight");
  write_hf_folder(hf_, config, tensors, 2);
  expect_difference({"decoder.layers.1.self_attention.linear_qkv.weight: 1 elements"});
}

// A tensor that the conversion drops as a copy is compared with what it is a copy of.
TEST_F(VerifyTest, ATiedOutputLayerThatDiffersIsADifference) {
  auto tensors = tiny_tensors(1, true, Dtype::kBF16, random_bytes(1));
  tensors.push_back({"lm_head.weight", Dtype::kBF16, {10, 8}, tensors[0].bytes});
  write_hf_folder(dir_ / "tied", tiny_config(1, true, "bfloat16"), tensors);
  hf_ = dir_ / "tied";
  megatron_ = dir_ / "tied_megatron";
  convert_hf(fs_, run_options<ConvertOptions>(hf_, megatron_));
  expect_identical(verify(hf_, megatron_));
  tensors.back().bytes[7] = static_cast<char>(tensors.back().bytes[7] ^ 1);
  put_file(hf_ / "model.safetensors", safetensors_file(tensors));
  expect_difference({"lm_head.weight: 1 elements, the first is number 3"});
  std::filesystem::remove_all(megatron_ / "causeway");
  expect_difference({"lm_head.weight: 1 elements, the first is number 3"});
}

TEST_F(VerifyTest, TwoOfAKindCannotBeCompared) {
  expect_error(Code::kUsage, "are both Hugging Face folders", [&] { verify(hf_, hf_); });
  expect_error(Code::kUsage, "are both Megatron checkpoints",
               [&] { verify(megatron_, megatron_); });
  expect_error(Code::kBadInput, "no such file", [&] { verify(hf_, dir_ / "nowhere"); });
}

}  // namespace
}  // namespace bridge
