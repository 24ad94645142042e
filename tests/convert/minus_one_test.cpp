// Converts norms that Megatron stores minus one with convert-hf and back: what the checkpoint
// contains, whose bytes win after training, what remains without a sidecar, and what is refused.
// value_change_test.cpp tests the numbers themselves.
#include "tests/convert/delta_net_model.h"
#include "tests/narrow_float.h"

namespace bridge {
namespace {

const std::string kNorm = "decoder.layers.self_attention.out_norm.weight";

uint16_t code_at(const std::string& bytes, size_t i) {
  uint16_t code = 0;
  std::memcpy(&code, &bytes[2 * i], 2);
  return code;
}

void put_code(std::string& bytes, size_t i, uint16_t code) {
  std::memcpy(&bytes[2 * i], &code, 2);
}

class MinusOneTest : public DeltaNetTest {
 protected:
  MinusOneTest() : source_(tensors(kNarrowNet, Dtype::kBF16, Dtype::kBF16)) {}

  std::string& norm(const std::string& name = "layers.1.norm.weight") {
    return tensor_named(source_, name).bytes;
  }

  std::vector<NamedTensor> source_;
};

TEST_F(MinusOneTest, MegatronHoldsTheWeightLessOne) {
  write(kNarrowNet, source_);
  convert("megatron");
  const auto holds = [&](const std::string& found, const std::string& weights) {
    ASSERT_EQ(found.size(), weights.size());
    for (size_t i = 0; i < found.size() / 2; ++i) {
      const uint16_t code = code_at(weights, i);
      const uint16_t expected = kBrain.is_nan(code) ? static_cast<uint16_t>(code | kBrain.quiet())
                                                    : kBrain.nearest(kBrain.value(code) - 1);
      EXPECT_EQ(code_at(found, i), expected) << std::hex << code;
    }
  };
  holds(payload("megatron", kNorm, 0), norm("layers.0.norm.weight"));
  holds(payload("megatron", kNorm, 1), norm());
  holds(payload("megatron", "decoder.layers.norms.weight_a", 1) +
            payload("megatron", "decoder.layers.norms.weight_b", 1),
        norm("layers.1.norms.weight"));
  const std::string kept = payload("megatron", "decoder.layers.kept_norm.weight", 0);
  ASSERT_EQ(kept.size(), 37U * 4);
  for (size_t i = 0; i < 37; ++i) {
    const uint16_t code = code_at(norm("layers.0.kept_norm.weight"), i);
    float value = 0;
    std::memcpy(&value, &kept[4 * i], 4);
    if (kBrain.is_nan(code)) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, static_cast<float>(kBrain.value(code) - 1)) << std::hex << code;
    }
  }
}

// 0.3 in BF16 does not survive minus one, plus one; -0.7 plus one is 0.30078125.
TEST_F(MinusOneTest, ATrainedWeightWinsOverItsWitness) {
  for (const size_t i : {0, 1, 2}) put_code(norm(), i, 0x3e99);
  write(kNarrowNet, source_);
  convert("megatron");
  const uint16_t held = kBrain.nearest(kBrain.value(0x3e99) - 1);
  edit_item(dir_ / "megatron", kNorm, 1, [&](std::string& data) {
    ASSERT_EQ(code_at(data, 1), held);
    put_code(data, 1, static_cast<uint16_t>(held + 1));
  });
  EXPECT_TRUE(differs("megatron"));
  export_again("megatron", "hf");
  const uint16_t back = kBrain.nearest(kBrain.value(static_cast<uint16_t>(held + 1)) + 1);
  ASSERT_NE(back, 0x3e99);
  put_code(norm(), 1, back);
  write(kNarrowNet, source_);
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(MinusOneTest, WithoutASidecarTheSumIsWhatIsLeft) {
  write(kNarrowNet, source_);
  convert("megatron");
  std::filesystem::remove_all(dir_ / "megatron/causeway");
  export_again("megatron", "hf", 4, 3 << 20, dir_ / "source");
  int lost = 0;
  for (NamedTensor& tensor : source_) {
    if (tensor.name.find("norm") == std::string::npos) continue;
    const bool kept = tensor.name.find("kept") != std::string::npos;
    for (size_t i = 0; i < tensor.bytes.size() / 2; ++i) {
      const uint16_t code = code_at(tensor.bytes, i);
      const double less_one = kBrain.value(code) - 1;
      const uint16_t back =
          kBrain.is_nan(code) ? static_cast<uint16_t>(code | kBrain.quiet())
          : kept ? kBrain.nearest(static_cast<double>(static_cast<float>(less_one)) + 1)
                 : kBrain.nearest(kBrain.value(kBrain.nearest(less_one)) + 1);
      lost += back == code ? 0 : 1;
      put_code(tensor.bytes, i, back);
    }
  }
  EXPECT_GT(lost, 0);
  write(kNarrowNet, source_);
  EXPECT_EQ(difference("source", "hf"), "");
}

TEST_F(MinusOneTest, AnotherDtypeOnTheWayBackHasNoWitnesses) {
  for (size_t i = 0; i < 37; ++i) put_code(norm(), i, 0x3e99);
  write(kNarrowNet, source_);
  convert("megatron");
  auto options = run_options<ExportOptions>(dir_ / "megatron", dir_ / "hf");
  options.mapping = dir_ / "table.jsonc";
  options.dtype = Dtype::kF32;
  export_to_hf(fs_, options);
  const auto held = kBrain.value(kBrain.nearest(kBrain.value(0x3e99) - 1));
  const auto expected = static_cast<float>(held + 1);
  const std::string found = hf_tensors(dir_ / "hf").at("layers.1.norm.weight");
  ASSERT_TRUE(found.starts_with("F32 [37] "));
  for (size_t i = 0; i < 37; ++i) {
    float value = 0;
    std::memcpy(&value, &found[9 + 4 * i], 4);
    EXPECT_EQ(value, expected);
  }
}

TEST_F(MinusOneTest, TooLargeForTheDtypeStopsTheRun) {
  narrow_target_ = true;
  source_ = tensors(kNarrowNet, Dtype::kBF16, Dtype::kF32);
  const auto converts = [&](float weight, Dtype to) {
    std::memcpy(norm().data(), &weight, 4);
    write(kNarrowNet, source_);
    std::filesystem::remove_all(dir_ / "megatron");
    convert("megatron", to);
  };
  // 65520.5 - 1 lies below 65520, the midpoint to the next value that F16 would have.
  converts(65520.5F, Dtype::kF16);
  expect_error(Code::kBadInput, "out_norm.weight: 1 of", [&] { converts(65521.0F, Dtype::kF16); });
  expect_error(Code::kBadInput, "values are too large for BF16",
               [&] { converts(3.4028234e38F, Dtype::kBF16); });
  EXPECT_FALSE(fs_.stat(dir_ / "megatron"));
}

TEST_F(MinusOneTest, IsNeverQuantized) {
  const auto quantize = [](std::vector<NamedTensor> all) {
    NamedTensor& norms = tensor_named(all, "layers.0.norms.weight");
    norms = {norms.name, Dtype::kF8E4M3, {4, 8}, std::string(32, '\x38')};
    const float one = 1;
    std::string scales(8, '\0');
    for (const size_t at : {0, 4}) std::memcpy(&scales[at], &one, 4);
    all.push_back({"layers.0.norms.scale", Dtype::kF32, {1, 2}, scales});
    return all;
  };
  write(kNarrowNet, source_);
  convert("megatron");
  write(kNarrowNet, quantize(source_), false, "reference");
  expect_error(Code::kBadInput,
               "layers.0.norms.weight: dtype F8_E4M3 in the origin is not one the table allows",
               [&] { export_again("megatron", "hf", 1, 64 << 20, dir_ / "reference"); });
  std::filesystem::rename(dir_ / "reference", dir_ / "unquantized");
  std::filesystem::remove_all(dir_ / "source");
  std::filesystem::rename(dir_ / "unquantized", dir_ / "source");
  expect_error(Code::kBadInput, "layers.0.norms.weight: dtype F8_E4M3 is not one the table allows",
               [&] { convert("other"); });
}

}  // namespace
}  // namespace bridge
