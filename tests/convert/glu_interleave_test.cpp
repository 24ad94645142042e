// Tests --glu-interleave N: gate and up rows of routed experts alternate in blocks of N. An export
// learns N from the option, from the checkpoint's own arguments, or from the sidecar.
#include <gtest/gtest.h>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

class GluInterleaveTest : public testing::Test {
 protected:
  void convert(const Path& target, int64_t interleave) {
    auto options = run_options<ConvertOptions>(source_, target);
    options.glu_interleave = interleave;
    convert_hf(fs_, options);
  }

  void export_again(const Path& checkpoint, const Path& target, int64_t interleave) {
    auto options = run_options<ExportOptions>(checkpoint, target);
    options.reference = source_;
    options.glu_interleave = interleave;
    export_to_hf(fs_, options);
  }

  std::string fc1(const std::string& folder, size_t chunk) {
    std::string found;
    edit_item(dir_ / folder, "decoder.layers.mlp.experts.experts.linear_fc1.weight", chunk,
              [&](std::string& data) { found = data; });
    return found;
  }

  const Path source_ = kData / "bridge_written/qwen3_moe/hf";
  TempDir dir_;
  FastFileSystem fs_;
};

// The first expert's two chunks have 32 rows of gate and 32 of up, each with 64 columns of two
// bytes.
TEST_F(GluInterleaveTest, RowsAlternate) {
  convert(dir_ / "plain", 0);
  convert(dir_ / "mixed", 8);
  constexpr size_t kRow = 128;
  const std::string gate = fc1("plain", 0);
  const std::string up = fc1("plain", 1);
  ASSERT_EQ(gate.size(), 32 * kRow);
  std::string expected;
  for (size_t row = 0; row < 32; row += 8) {
    expected += gate.substr(row * kRow, 8 * kRow) + up.substr(row * kRow, 8 * kRow);
  }
  EXPECT_TRUE(fc1("mixed", 0) + fc1("mixed", 1) == expected);
}

TEST_F(GluInterleaveTest, TheCheckpointSaysSoItself) {
  convert(dir_ / "megatron", 16);
  export_again(dir_ / "megatron", dir_ / "with_sidecar", 0);
  EXPECT_EQ(first_difference(tree(source_), tree(dir_ / "with_sidecar")), "");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  export_again(dir_ / "megatron", dir_ / "from_args", 0);
  EXPECT_EQ(first_difference(tree(source_), tree(dir_ / "from_args")), "");
  export_again(dir_ / "megatron", dir_ / "as_asked", 8);
  EXPECT_NE(first_difference(tree(source_), tree(dir_ / "as_asked")), "") << "the option wins";
}

TEST_F(GluInterleaveTest, MustDivideTheRows) {
  expect_error(Code::kUsage, "--glu-interleave 5: experts of 32 rows do not divide into it",
               [&] { convert(dir_ / "megatron", 5); });
}

}  // namespace
}  // namespace bridge
