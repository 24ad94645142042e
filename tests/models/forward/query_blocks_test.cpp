// Tests attention by blocks of queries against ATen's own attention, on prompts long enough for
// several blocks.
#include "models/forward/query_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include "models/forward/attention.h"
#include "tests/models/forward/small_compressed_attention.h"
#include "tests/models/stored_weights.h"

namespace models {
namespace {

// Numbers between -1 and 1 that follow no pattern over any axis.
at::Tensor spread(at::IntArrayRef sizes, double seed) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return (at::arange(count, at::kDouble) * (0.7548776662 + seed))
      .frac()
      .mul(2)
      .sub(1)
      .to(at::kFloat)
      .view(sizes);
}

void expect_attention(int64_t heads, int64_t groups, int64_t tokens, int64_t window) {
  const at::Tensor q = spread({2, heads, tokens, 8}, 0.1);
  const at::Tensor k = spread({2, groups, tokens, 8}, 0.2);
  const at::Tensor v = spread({2, groups, tokens, 6}, 0.3);
  const auto for_every_head = [&](const at::Tensor& x) {
    return x.repeat_interleave(heads / groups, 1);
  };
  const at::Tensor positions = at::arange(tokens, at::kLong);
  const at::Tensor before = positions.unsqueeze(1) - positions;
  at::Tensor visible = before >= 0;
  if (window > 0) visible = visible.logical_and(before < window);
  const at::Tensor expected = at::scaled_dot_product_attention(
      q, for_every_head(k), for_every_head(v), visible, 0, false, 3.0);
  EXPECT_LT(largest_difference(causal_attention(q, k, v, 3.0, window), expected), 1e-5)
      << heads << " heads, " << groups << " groups, " << tokens << " tokens, window " << window;
}

// A sink is one more key with its own score and a value of zeros. Here the key is a channel that is
// 1 in every query, and the score of the sink in it.
TEST(QueryBlocks, SinksTakeWeightAlone) {
  for (const int64_t tokens : {5, 1501}) {
    const int64_t heads = 4;
    const at::Tensor q = spread({1, heads, tokens, 8}, 0.1);
    const at::Tensor k = spread({1, 2, tokens, 8}, 0.2);
    const at::Tensor v = spread({1, 2, tokens, 6}, 0.3);
    const at::Tensor sink = spread({heads}, 0.4) * 3;
    const at::Tensor wide_q = at::cat({q, at::ones({1, heads, tokens, 1})}, -1);
    const at::Tensor no_score = at::zeros({1, heads, tokens, 1});
    const at::Tensor score = sink.view({1, heads, 1, 1}) / 3.0;
    const at::Tensor sink_key = at::cat({at::zeros({1, heads, 1, 8}), score}, -1);
    const at::Tensor keys =
        at::cat({at::cat({k.repeat_interleave(2, 1), no_score}, -1), sink_key}, 2);
    const at::Tensor values = at::cat({v.repeat_interleave(2, 1), at::zeros({1, heads, 1, 6})}, 2);
    const at::Tensor positions = at::arange(tokens, at::kLong);
    const at::Tensor visible =
        at::cat({positions.unsqueeze(1) >= positions, at::ones({tokens, 1}, at::kBool)}, 1);
    const at::Tensor expected =
        at::scaled_dot_product_attention(wide_q, keys, values, visible, 0, false, 3.0);
    EXPECT_LT(largest_difference(causal_attention(q, k, v, 3.0, 0, 0, sink), expected), 1e-5)
        << tokens << " tokens";
  }
}

TEST(QueryBlocks, GiveTheSameAsTheWhole) {
  expect_attention(6, 2, 37, 0);     // one block
  expect_attention(8, 8, 1500, 0);   // a few heads at a time
  expect_attention(12, 2, 1500, 0);  // blocks of one head's queries
  expect_attention(12, 1, 1501, 0);
  expect_attention(12, 1, 1501, 1);
  expect_attention(12, 1, 1501, 700);
}

TEST(QueryBlocks, AreBounded) {
  for (const int64_t tokens : {1, 100, 5000, 100001}) {
    for (const int64_t window : {0, 1, 128}) {
      int64_t next = 0;
      for (const QueryBlock& block : query_blocks(tokens, window, 64, tokens / 4)) {
        ASSERT_EQ(block.first, next);
        next = block.last;
        EXPECT_EQ(block.first_key,
                  window == 0 ? 0 : std::max<int64_t>(0, block.first + 1 - window));
        EXPECT_TRUE(block.queries() == 1 ||
                    64 * block.queries() * (block.keys() + tokens / 4) <= kMostScores);
      }
      EXPECT_EQ(next, tokens);
    }
  }
}

TEST(QueryBlocks, SeeWhatTheyMay) {
  const QueryBlock block{5, 8, 3};
  const at::Tensor seen = visible_keys(block, 3, at::kCPU);
  ASSERT_EQ(seen.sizes(), (std::vector<int64_t>{3, 5}));
  for (int64_t query = 5; query < 8; ++query) {
    for (int64_t key = 3; key < 8; ++key) {
      EXPECT_EQ(seen[query - 5][key - 3].item().toBool(), key <= query && key > query - 3);
    }
  }
}

// In DeepSeek-V4, the first tokens of a long prompt give the same result as they give alone, in one
// block.
TEST(QueryBlocks, OfCompressedAttention) {
  CompressedAttention config = small_compressed_attention(300);
  choose_summaries(config, 4);
  StoredWeights weights("deepseek_v4.safetensors", "sparse");
  constexpr NormConfig kNorm = {NormKind::kScaleThenCast, 1e-3};
  const at::Tensor x = spread({1, 4000, weights.whole("x").size(2)}, 0.4);
  constexpr int64_t kAlone = 1100;
  ASSERT_EQ(query_blocks(kAlone, 5, 9, kAlone / 4).size(), 1);
  ASSERT_LT(query_blocks(4000, 5, 9, 1000)[0].last, kAlone);
  const auto run = [&](int64_t tokens) {
    const at::Tensor prompt = x.narrow(1, 0, tokens);
    ForwardState state = state_of(prompt);
    return attention(config, kNorm, weights.layer(), prompt, state).narrow(1, 0, kAlone);
  };
  EXPECT_LT(largest_difference(run(4000), run(kAlone)), 1e-5);
}

}  // namespace
}  // namespace models
