// Tests Qwen3.5's attention, full and linear, and its experts against transformers
// (data/forward_layers/make_expected.py).
#include <cmath>

#include "models/forward/attention.h"
#include "models/forward/delta_rule.h"
#include "models/forward/mlp.h"
#include "tests/models/stored_weights.h"

namespace models {
namespace {

constexpr NormConfig kNorm = {NormKind::kZeroCentred, 1e-3};

double attention_difference(const std::string& name, const AttentionConfig& config,
                            int64_t tokens) {
  StoredWeights weights("qwen3_5.safetensors", name);
  const at::Tensor x = weights.whole("x").narrow(1, 0, tokens);
  ForwardState state = state_of(x);
  const at::Tensor y = attention(config, kNorm, weights.layer(), x, state);
  return largest_difference(y, weights.whole("y").narrow(1, 0, tokens));
}

TEST(GatedAttention, OfPartlyTurnedHeads) {
  GroupedAttention config;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.qk_norm = true;
  config.gated = true;
  config.rotary.channels = 8;
  config.rotary.base = 50;
  EXPECT_LT(attention_difference("full", config, 9), 1e-5);
  config.gated = false;
  EXPECT_GT(attention_difference("full", config, 9), 1e-2);
}

// Prompts shorter than a chunk are computed token by token, others by chunks.
TEST(LinearAttention, OfAnyLength) {
  const DeltaAttention config = {2, 6, 5, 7, 4};
  for (const int64_t tokens : {1, 2, 3, 4, 63, 64, 65, 128, 133}) {
    EXPECT_LT(attention_difference("linear", config, tokens), 2e-5) << tokens << " tokens";
  }
}

TEST(DeltaRule, ByTokenAndByChunks) {
  const StoredWeights stored("qwen3_5.safetensors", "delta");
  const auto by_head = [&](const char* name) { return stored.whole(name).transpose(1, 2); };
  const at::Tensor q = unit_length(by_head("q")) / std::sqrt(5.0);
  const at::Tensor k = unit_length(by_head("k"));
  const at::Tensor expected = by_head("y");
  const at::Tensor by_token =
      delta_rule_by_token(q, k, by_head("v"), by_head("decay"), by_head("beta"));
  EXPECT_LT(largest_difference(by_token, expected), 1e-6);
  for (const int64_t chunk : {1, 2, 16, 37, 64}) {
    const at::Tensor by_chunk =
        delta_rule_by_chunk(q, k, by_head("v"), by_head("decay"), by_head("beta"), chunk);
    EXPECT_LT(largest_difference(by_chunk, expected), 1e-5) << "chunks of " << chunk;
  }
}

TEST(GatedSharedExpert, BesideRoutedOnes) {
  MixtureOfExperts config;
  config.router.experts = 5;
  config.router.chosen = 2;
  config.router.normalized = true;
  config.width = 14;
  config.shared_width = 11;
  config.shared_gated = true;
  StoredWeights weights("qwen3_5.safetensors", "gated");
  const at::Tensor x = weights.whole("x");
  ForwardState state = state_of(x);
  state.ids = x.select(-1, 0).to(at::kLong);
  const auto difference = [&] {
    return largest_difference(mlp(config, weights.layer(), x, state), weights.whole("y"));
  };
  EXPECT_LT(difference(), 1e-5);
  config.shared_gated = false;
  EXPECT_GT(difference(), 1e-2);
}

}  // namespace
}  // namespace models
