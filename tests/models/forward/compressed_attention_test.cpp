// Tests DeepSeek-V4's attention, hyper-connections and experts against transformers
// (data/forward_layers/make_expected.py).
#include <ATen/ops/ones.h>

#include "bridge/io/base/error.h"
#include "models/forward/attention.h"
#include "models/forward/hyper_connection.h"
#include "models/forward/mlp.h"
#include "models/forward/norm.h"
#include "models/forward/summary.h"
#include "tests/models/forward/small_compressed_attention.h"
#include "tests/models/stored_weights.h"
#include "tests/refusal.h"

namespace models {
namespace {

constexpr NormConfig kNorm = {NormKind::kScaleThenCast, 1e-3};
constexpr HyperConnections kHyper = {3, 5, 1e-3};

CompressedAttention attention_with_summaries(int64_t ratio) {
  CompressedAttention attention = small_compressed_attention(300);
  attention.ratio = ratio;
  attention.rotary.scaling = RotaryScaling::kYarn;
  attention.rotary.factor = 4;
  attention.rotary.original_positions = 16;
  attention.rotary.beta_fast = 2;
  attention.rotary.beta_slow = 0.25;
  attention.rotary.round_range = true;
  return attention;
}

CompressedAttention sparse_attention() {
  CompressedAttention attention = attention_with_summaries(4);
  choose_summaries(attention, 4);
  return attention;
}

// Tokens do not see later ones, so the beginning of a prompt gives the beginning of the result.
void expect_attention(const std::string& name, const CompressedAttention& config) {
  StoredWeights weights("deepseek_v4.safetensors", name);
  const at::Tensor x = weights.whole("x");
  for (const int64_t tokens : {1, 3, 4, 5, 7, 8, 23}) {
    const at::Tensor prompt = x.narrow(1, 0, tokens);
    ForwardState state = state_of(prompt);
    const at::Tensor y = attention(config, kNorm, weights.layer(), prompt, state);
    EXPECT_LT(largest_difference(y, weights.whole("y").narrow(1, 0, tokens)), 1e-5)
        << name << ", " << tokens << " tokens";
  }
}

TEST(CompressedAttention, Window) {
  expect_attention("sliding", small_compressed_attention(50));
}

TEST(CompressedAttention, OverlappingSummariesWithAnIndex) {
  expect_attention("sparse", sparse_attention());
}

TEST(CompressedAttention, PlainSummaries) {
  expect_attention("heavy", attention_with_summaries(7));
}

// The cases above must distinguish these choices: each choice changes the result.
TEST(CompressedAttention, EveryChoiceShows) {
  const auto differs = [](const char* name, const CompressedAttention& config) {
    StoredWeights weights("deepseek_v4.safetensors", name);
    const at::Tensor x = weights.whole("x");
    ForwardState state = state_of(x);
    const at::Tensor y = attention(config, kNorm, weights.layer(), x, state);
    return largest_difference(y, weights.whole("y")) > 1e-3;
  };
  CompressedAttention changed = sparse_attention();
  changed.index_heads = 0;
  EXPECT_TRUE(differs("sparse", changed));
  changed = sparse_attention();
  changed.index_chosen = 2;
  EXPECT_TRUE(differs("sparse", changed));
  changed = sparse_attention();
  changed.rotary.base = 50;
  EXPECT_TRUE(differs("sparse", changed));
  changed = sparse_attention();
  changed.rotary.scaling = RotaryScaling::kNone;
  EXPECT_TRUE(differs("sparse", changed));
  changed = small_compressed_attention(50);
  changed.window = 6;
  EXPECT_TRUE(differs("sliding", changed));
}

TEST(Summary, OfFinishedRunsOnly) {
  const at::Tensor finished = finished_summaries(0, 9, 4, at::kCPU);
  ASSERT_EQ(finished.sizes(), (std::vector<int64_t>{9, 2}));
  for (int64_t token = 0; token < 9; ++token) {
    EXPECT_EQ(finished[token][0].item().toBool(), token >= 3) << token;
    EXPECT_EQ(finished[token][1].item().toBool(), token >= 7) << token;
  }
}

HyperWeights mapping(const StoredWeights& weights, const std::string& part) {
  return {weights.whole(part + "_mapping"), weights.whole(part + "_mapping.base"),
          weights.whole(part + "_mapping.scale")};
}

// Both parts of a layer return three times the norm of what they read.
TEST(HyperConnection, AroundBothParts) {
  const StoredWeights weights("deepseek_v4.safetensors", "hyper");
  at::Tensor streams = weights.whole("x");
  for (const char* part : {"attention", "mlp"}) {
    const HyperMix mix = hyper_mapping(kHyper, kNorm.eps, mapping(weights, part), streams);
    const at::Tensor normed = rms_norm(hyper_input(mix.pre, streams), at::ones({20}), kNorm);
    streams = hyper_after(mix.post, mix.mix, normed * 3, streams);
  }
  EXPECT_LT(largest_difference(streams, weights.whole("y")), 2e-5);
}

TEST(HyperConnection, BeforeAHead) {
  const StoredWeights weights("deepseek_v4.safetensors", "hyper");
  const at::Tensor input =
      hyper_head(kHyper, kNorm.eps, mapping(weights, "head"), weights.whole("x"));
  EXPECT_LT(largest_difference(input, weights.whole("head")), 1e-5);
}

MixtureOfExperts limited_experts() {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSqrtSoftplus;
  mlp.router.experts = 5;
  mlp.router.chosen = 2;
  mlp.router.normalized = true;
  mlp.router.factor = 1.7;
  mlp.width = 14;
  mlp.shared_width = 14;
  mlp.limit = 0.4;
  return mlp;
}

double mlp_difference(const std::string& name, const MixtureOfExperts& config) {
  StoredWeights weights("deepseek_v4.safetensors", name);
  const at::Tensor x = weights.whole("x");
  ForwardState state = state_of(x);
  state.ids = weights.whole("ids");
  return largest_difference(mlp(config, weights.layer(), x, state), weights.whole("y"));
}

TEST(LimitedExperts, ChosenByToken) {
  MixtureOfExperts config = limited_experts();
  config.router.by_token = true;
  EXPECT_LT(mlp_difference("hashed", config), 1e-5);
  config.limit = 0;
  EXPECT_GT(mlp_difference("hashed", config), 1e-3);
}

TEST(LimitedExperts, ChosenByBiasedScores) {
  MixtureOfExperts config = limited_experts();
  config.router.selection_bias = true;
  EXPECT_LT(mlp_difference("biased", config), 1e-5);
  config.router.selection_bias = false;
  EXPECT_GT(mlp_difference("biased", config), 1e-3);
}

TEST(LimitedExperts, ATableThatNamesNoExpertIsRefused) {
  MixtureOfExperts config = limited_experts();
  config.router.by_token = true;
  config.router.experts = 3;
  bridge::expect_error(bridge::Code::kBadInput,
                       "layers.0.router_table has numbers that are not in 0 to 2",
                       [&] { mlp_difference("hashed", config); });
}

}  // namespace
}  // namespace models
