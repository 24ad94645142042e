// Converts two kinds of tensors with convert-hf and back: tensors in equal parts under keys of
// their own (the three scales of a hyper-connection), and tables of ids that are I64 in the release
// and I32 in Megatron (tid2eid of hash routing).
#include "tests/convert/packed_model.h"

namespace bridge {
namespace {

// --- parts --------------------------------------------------------------------------------------

TEST_F(PackedTest, PartsHaveKeysOfTheirOwn) {
  write(kSmall, tensors(kSmall, true));
  convert("megatron");
  const MegatronFolder folder = open_checkpoint(dir_ / "megatron");
  EXPECT_EQ(folder.find(kAlpha), nullptr);
  for (const char* suffix : {"_pre", "_post", "_res"}) {
    const DcpTensor* part = folder.find(kAlpha + suffix);
    ASSERT_NE(part, nullptr) << suffix;
    EXPECT_EQ(part->dtype, Dtype::kF32);
    EXPECT_EQ(part->shape, (Shape{1, 2}));
  }
  EXPECT_EQ(payload("megatron", kAlpha + "_post"), bytes_of_values<float>({-2.5F, 3.5F}));
  EXPECT_EQ(payload("megatron", kAlpha + "_res"), bytes_of_values<float>({4.5F, -0.0F}));
}

TEST_F(PackedTest, AChangedPartIsItsPartOfTheTensor) {
  auto source = tensors(kSmall, true);
  write(kSmall, source);
  convert("megatron");
  const float trained = 99.0F;
  edit_item(dir_ / "megatron", kAlpha + "_res", 0,
            [&](std::string& data) { std::memcpy(&data[4], &trained, 4); });
  export_again("megatron", "hf");
  std::memcpy(&find(source, "layers.0.hyper_scale").bytes[20], &trained, 4);
  write(kSmall, source);
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(PackedTest, AMissingPartIsNamed) {
  write(kSmall, tensors(kSmall, true));
  for (const std::string suffix : {"_pre", "_post", "_res"}) {
    std::filesystem::remove_all(dir_ / "megatron");
    convert("megatron");
    rename_key("megatron", kAlpha + suffix, kAlpha + std::string(suffix.size(), 'x'));
    expect_error(Code::kBadInput, "hyper.alpha" + suffix + ": missing",
                 [&] { export_again("megatron", "hf"); });
  }
  EXPECT_FALSE(fs_.stat(dir_ / "hf"));
}

// --- ids ----------------------------------------------------------------------------------------

TEST_F(PackedTest, IdsAreI32InMegatron) {
  for (const Dtype dtype : {Dtype::kI64, Dtype::kI32}) {
    auto source = tensors(kSmall, true);
    const std::vector<int32_t> narrow(ids_.begin(), ids_.end());
    if (dtype == Dtype::kI32) {
      find(source, "layers.0.tid2eid").dtype = dtype;
      find(source, "layers.0.tid2eid").bytes = bytes_of_values(narrow);
    }
    write(kSmall, source);
    std::filesystem::remove_all(dir_ / "megatron");
    convert("megatron");
    EXPECT_EQ(open_checkpoint(dir_ / "megatron").find(kIds)->dtype, Dtype::kI32);
    EXPECT_EQ(payload("megatron", kIds), bytes_of_values(narrow));
    expect_the_source("megatron");
  }
}

TEST_F(PackedTest, IdsBeyond32BitsStopTheRun) {
  for (const int64_t id : {int64_t{1} << 31, -(int64_t{1} << 31) - 1, int64_t{1} << 62}) {
    ids_[13] = id;
    write(kSmall, tensors(kSmall, true));
    expect_error(Code::kBadInput, "router.tid2eid", [&] { convert("megatron"); });
    EXPECT_FALSE(fs_.stat(dir_ / "megatron"));
  }
}

TEST_F(PackedTest, PaddingRowsNameExpertZero) {
  write(kSmall, tensors(kSmall, true));
  vocab_rows_ = 10;
  convert("megatron");
  const std::vector<int32_t> narrow(ids_.begin(), ids_.end());
  EXPECT_EQ(payload("megatron", kIds), bytes_of_values(narrow) + std::string(24, '\0'));
  export_again("megatron", "hf");
  EXPECT_EQ(difference("source", "hf"), "");
}

}  // namespace
}  // namespace bridge
