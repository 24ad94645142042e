// Converts queries with gates, grouped projections and tensors in parts of different sizes with
// convert-hf and back. Every key has the rows that the definition written out here names, every
// byte comes back, and what does not fit is refused.
//
// Truth: the row orders are those of transformers' modeling_qwen3_5.py and modeling_qwen3_next.py
// (q_proj viewed as [heads, 2 * head_dim]; fix_query_key_value_ordering) and of megatron-core's
// attention.py and gated_delta_net.py.
#include "tests/convert/delta_net_model.h"

namespace bridge {
namespace {

class RowsOf {
 public:
  RowsOf(std::vector<NamedTensor>& tensors, size_t layer)
      : tensors_(tensors), prefix_("layers." + std::to_string(layer) + ".") {}

  std::string operator()(const std::string& name, int64_t first, int64_t count) const {
    const NamedTensor& tensor = tensor_named(tensors_, prefix_ + name);
    const size_t row = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
    return tensor.bytes.substr(static_cast<size_t>(first) * row, static_cast<size_t>(count) * row);
  }

 private:
  std::vector<NamedTensor>& tensors_;
  std::string prefix_;
};

std::string gated_qkv(const RowsOf& rows, const std::string& kind, const DeltaNetSize& size) {
  std::string all;
  const int64_t d = size.head_dim;
  for (int64_t group = 0; group < 2; ++group) {
    for (int64_t head = 3 * group; head < 3 * group + 3; ++head) {
      all += rows("q." + kind, head * 2 * d, d);
    }
    for (int64_t head = 3 * group; head < 3 * group + 3; ++head) {
      all += rows("q." + kind, head * 2 * d + d, d);
    }
    all += rows("k." + kind, group * d, d);
    all += rows("v." + kind, group * size.value_dim, size.value_dim);
  }
  return all;
}

TEST_F(DeltaNetTest, EveryKeyHasItsRows) {
  for (const DeltaNetSize& size : {kNarrowNet, kWideNet}) {
    auto source = tensors(size, Dtype::kBF16, Dtype::kF32);
    write(size, source);
    std::filesystem::remove_all(dir_ / "megatron");
    convert("megatron");
    const int64_t key = 3 * size.head_dim;
    const int64_t value = 6 * size.value_dim;
    const std::string stem = "decoder.layers.";
    for (const size_t layer : {0, 1}) {
      const RowsOf rows(source, layer);
      const auto holds = [&](const std::string& name, const std::string& expected) {
        EXPECT_TRUE(payload("megatron", stem + name, layer) == expected)
            << name << " of layer " << layer;
      };
      for (const std::string kind : {"weight", "bias"}) {
        holds("self_attention.linear_qkv." + kind, gated_qkv(rows, kind, size));
      }
      const std::string in_proj = "self_attention.in_proj.weight.";
      holds(in_proj + "query", rows("qkv.weight", 0, key));
      holds(in_proj + "key", rows("qkv.weight", key, key));
      holds(in_proj + "value", rows("qkv.weight", 2 * key, value));
      holds(in_proj + "z", rows("z.weight", 0, value));
      holds(in_proj + "beta", rows("b.weight", 0, 6));
      holds(in_proj + "alpha", rows("a.weight", 0, 6));
      const std::string conv = "self_attention.conv1d.weight.";
      holds(conv + "query", rows("conv1d.weight", 0, key));
      holds(conv + "key", rows("conv1d.weight", key, key));
      holds(conv + "value", rows("conv1d.weight", 2 * key, value));
      // Key head j has its query, its key, and the values and gates of its two value heads.
      std::map<std::string, std::string> next;
      for (int64_t j = 0; j < 3; ++j) {
        const int64_t d = size.head_dim;
        const int64_t first = j * (2 * d + 4 * size.value_dim);
        next["query"] += rows("qkvz.weight", first, d);
        next["key"] += rows("qkvz.weight", first + d, d);
        next["value"] += rows("qkvz.weight", first + 2 * d, 2 * size.value_dim);
        next["z"] += rows("qkvz.weight", first + 2 * d + 2 * size.value_dim, 2 * size.value_dim);
        next["beta"] += rows("ba.weight", 4 * j, 2);
        next["alpha"] += rows("ba.weight", 4 * j + 2, 2);
      }
      for (const auto& [part, expected] : next) {
        const bool gate = part == "beta" || part == "alpha";
        holds((gate ? "next.ba.weight." : "next.in_proj.weight.") + part, expected);
      }
      for (size_t expert = 0; expert < 3; ++expert) {
        const std::string name = "experts." + std::to_string(expert) + ".w";
        const std::string experts = stem + "mlp.experts.experts.w";
        EXPECT_TRUE(payload("megatron", experts + "_first", 3 * layer + expert) ==
                    rows(name, 0, 4));
        EXPECT_TRUE(payload("megatron", experts + "_last", 3 * layer + expert) == rows(name, 4, 1));
      }
    }
    const MegatronFolder folder = open_checkpoint(dir_ / "megatron");
    const DcpTensor* beta = folder.find(stem + "next.ba.weight.beta");
    ASSERT_NE(beta, nullptr);
    EXPECT_EQ(beta->shape, (Shape{2, 6, size.hidden}));
  }
}

struct Trip {
  std::string name;
  DeltaNetSize size;
  Dtype dtype;
  Dtype norms;
  std::optional<Dtype> to;
  bool per_layer = false;
};

class DeltaNetTripTest : public DeltaNetTest, public testing::WithParamInterface<Trip> {};

TEST_P(DeltaNetTripTest, GivesTheSameFiles) {
  const Trip& trip = GetParam();
  narrow_target_ = trip.to.has_value();
  write(trip.size, tensors(trip.size, trip.dtype, trip.norms), trip.per_layer);
  convert("one", trip.to);
  convert("four", trip.to, 4, 3 << 20);
  EXPECT_EQ(difference("one", "four"), "");
  EXPECT_FALSE(differs("one"));
  export_again("one", "hf");
  EXPECT_EQ(difference("source", "hf"), "");
  export_again("four", "hf4", 4, 3 << 20);
  EXPECT_EQ(difference("source", "hf4"), "");
}

const Trip kTrips[] = {
    {"Narrow", kNarrowNet, Dtype::kBF16, Dtype::kBF16, {}},
    {"NarrowPerLayer", kNarrowNet, Dtype::kBF16, Dtype::kF32, {}, true},
    {"Wide", kWideNet, Dtype::kBF16, Dtype::kF32, {}},
    {"WideF16", kWideNet, Dtype::kF16, Dtype::kF16, {}},
    {"WideToBf16", kWideNet, Dtype::kBF16, Dtype::kF32, Dtype::kBF16, true},
    {"WideToF32", kWideNet, Dtype::kBF16, Dtype::kF16, Dtype::kF32},
    {"WideToF16", kWideNet, Dtype::kF16, Dtype::kF32, Dtype::kF16},
    {"NarrowToF16", kNarrowNet, Dtype::kBF16, Dtype::kBF16, Dtype::kF16},
    {"NarrowF16ToBf16", kNarrowNet, Dtype::kF16, Dtype::kF16, Dtype::kBF16},
};
INSTANTIATE_TEST_SUITE_P(DeltaNet, DeltaNetTripTest, testing::ValuesIn(kTrips),
                         [](const auto& test) { return test.param.name; });

// A checkpoint must not have this shape: two parts that differ in rows change places.
TEST_F(DeltaNetTest, PartsWithOtherRowsAreRefused) {
  write(kNarrowNet, tensors(kNarrowNet, Dtype::kBF16, Dtype::kF32));
  convert("megatron");
  const std::string stem = "decoder.layers.self_attention.in_proj.weight.";
  rename_key("megatron", stem + "query", stem + "other");
  rename_key("megatron", stem + "value", stem + "query");
  expect_error(Code::kBadInput, "in_proj.weight.value: missing",
               [&] { export_again("megatron", "hf"); });
  rename_key("megatron", stem + "other", stem + "value");
  expect_error(Code::kBadInput, "in_proj.weight.query: BF16 [30, 3]",
               [&] { export_again("megatron", "hf"); });
  EXPECT_FALSE(fs_.stat(dir_ / "hf"));
}

TEST_F(DeltaNetTest, AChangedGateIsItsRowOfTheHead) {
  auto source = tensors(kNarrowNet, Dtype::kBF16, Dtype::kF32);
  write(kNarrowNet, source);
  convert("megatron");
  EXPECT_FALSE(differs("megatron"));
  // This is the second row of the second gate of group 1. A group has three queries and three gates
  // of 2 rows, a key of 2 and a value of 5.
  const int64_t row = (6 * 2 + 2 + 5) + 3 * 2 + 2 + 1;
  edit_item(dir_ / "megatron", "decoder.layers.self_attention.linear_qkv.weight", 1,
            [&](std::string& data) { data[static_cast<size_t>(row * 3 * 2)] ^= 1; });
  EXPECT_TRUE(differs("megatron"));
  export_again("megatron", "hf");
  // Head 4 of 6 has two rows of its query, then its gate.
  tensor_named(source, "layers.1.q.weight").bytes[(4 * 4 + 2 + 1) * 3 * 2] ^= 1;
  write(kNarrowNet, source);
  EXPECT_EQ(difference("source", "hf"), "");
}

}  // namespace
}  // namespace bridge
