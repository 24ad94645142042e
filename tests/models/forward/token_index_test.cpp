// Tests latent attention with an index against transformers (data/forward_layers/make_expected.py),
// and the index in blocks of queries and in packed rows.
#include "models/forward/token_index.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "bridge/io/base/error.h"
#include "models/forward/attention.h"
#include "models/forward/forward.h"
#include "models/forward/index_scores.h"
#include "models/forward/prompt.h"
#include "models/forward/query_blocks.h"
#include "models/forward/recompute.h"
#include "models/train/leaf_weights.h"
#include "tests/models/made_weights.h"
#include "tests/models/stored_weights.h"
#include "tests/refusal.h"

namespace models {
namespace {

constexpr char kFile[] = "token_index.safetensors";
constexpr NormConfig kNorm = {NormKind::kCastThenScale, 1e-6};

LatentAttention indexed_attention(int64_t index_heads, RotaryLayout layout) {
  LatentAttention attention;
  attention.heads = 6;
  attention.q_rank = 10;
  attention.kv_rank = 7;
  attention.nope_dim = 5;
  attention.rope_dim = 4;
  attention.v_dim = 9;
  attention.latent_eps = 1e-6;
  attention.rotary.channels = 4;
  attention.rotary.layout = RotaryLayout::kPairs;
  attention.rotary.base = 50;
  attention.index = {index_heads, 8, 3, 1e-6, layout, false};
  return attention;
}

LatentAttention sharing_attention() {
  LatentAttention attention = indexed_attention(0, RotaryLayout::kHalves);
  attention.index = {0, 0, 3, 0, RotaryLayout::kHalves, true};
  return attention;
}

// Of the first tokens of the case's prompt.
double difference(const std::string& name, const LatentAttention& config, int64_t tokens = 23) {
  StoredWeights weights(kFile, name);
  const at::Tensor prompt = weights.whole("x").narrow(1, 0, tokens);
  ForwardState state = state_of(prompt);
  const at::Tensor y = attention(config, kNorm, weights.layer(), prompt, state);
  return largest_difference(y, weights.whole("y").narrow(1, 0, tokens));
}

// The index chooses three tokens: up to the third, a token sees all before it.
TEST(TokenIndex, TurnedInHalves) {
  const LatentAttention config = indexed_attention(9, RotaryLayout::kHalves);
  for (const int64_t tokens : {1, 2, 3, 4, 23}) {
    EXPECT_LT(difference("halves", config, tokens), 1e-5) << tokens << " tokens";
  }
}

TEST(TokenIndex, TurnedInPairs) {
  EXPECT_LT(difference("pairs", indexed_attention(9, RotaryLayout::kPairs)), 1e-5);
}

// With one head, every second score is 0: of equal ones, those that topk takes are chosen.
TEST(TokenIndex, EqualScores) {
  EXPECT_LT(difference("equal", indexed_attention(1, RotaryLayout::kHalves)), 1e-5);
}

TEST(TokenIndex, EveryChoiceShows) {
  EXPECT_GT(difference("halves", indexed_attention(9, RotaryLayout::kPairs)), 1e-3);
  LatentAttention changed = indexed_attention(9, RotaryLayout::kHalves);
  changed.index.chosen = 4;
  EXPECT_GT(difference("halves", changed), 1e-3);
  changed.index = {};
  EXPECT_GT(difference("halves", changed), 1e-3);
  changed = indexed_attention(9, RotaryLayout::kHalves);
  changed.index.eps = 1;
  EXPECT_GT(difference("halves", changed), 1e-3);
}

TEST(TokenIndex, SharedWithALayerBefore) {
  StoredWeights first(kFile, "pairs");
  StoredWeights second(kFile, "shared");
  const at::Tensor x = first.whole("x");
  ForwardState state = state_of(x);
  attention(indexed_attention(9, RotaryLayout::kPairs), kNorm, first.layer(), x, state);
  const at::Tensor y = attention(sharing_attention(), kNorm, second.layer(), x, state);
  EXPECT_LT(largest_difference(y, second.whole("y")), 1e-5);
}

TEST(TokenIndex, SharedWithALayerThatIsNotRun) {
  StoredWeights weights(kFile, "shared");
  const at::Tensor x = weights.whole("x");
  ForwardState state = state_of(x);
  EXPECT_EQ(
      bridge::refusal_of([&] { attention(sharing_attention(), kNorm, weights.layer(), x, state); },
                         bridge::Code::kUnsupported),
      "a layer shares the index of one before it that is not run: run that too");
}

// The first tokens of a long prompt, in several blocks, give the same as they give alone, in one.
TEST(TokenIndex, InBlocks) {
  const LatentAttention config = indexed_attention(9, RotaryLayout::kHalves);
  StoredWeights weights(kFile, "halves");
  constexpr int64_t kTokens = 2500;
  constexpr int64_t kAlone = 1100;
  const at::Tensor x = (at::arange(kTokens * 20, at::kDouble) * 0.7548776662)
                           .frac()
                           .mul(2)
                           .sub(1)
                           .to(at::kFloat)
                           .view({1, kTokens, 20});
  ASSERT_EQ(query_blocks(kAlone, 0, 9).size(), 1U);
  ASSERT_LT(query_blocks(kTokens, 0, 9)[0].last, kAlone);
  const auto run = [&](int64_t tokens) {
    const at::Tensor prompt = x.narrow(1, 0, tokens);
    ForwardState state = state_of(prompt);
    return attention(config, kNorm, weights.layer(), prompt, state).narrow(1, 0, kAlone);
  };
  EXPECT_LT(largest_difference(run(kTokens), run(kAlone)), 1e-5);
}

TEST(TokenIndex, BestOfTheAllowed) {
  const at::Tensor scores = at::arange(4, at::kFloat).view({1, 1, 4});
  const auto best = [&](int64_t allowed, int64_t chosen) {
    const at::Tensor found =
        best_scored(scores, at::arange(4, at::kLong).unsqueeze(0) < allowed, chosen);
    std::string text;
    for (int64_t key = 0; key < 4; ++key) text += found[0][0][key].item().toBool() ? '1' : '0';
    return text;
  };
  EXPECT_EQ(best(3, 2), "0110");
  EXPECT_EQ(best(3, 3), "1110");
  EXPECT_EQ(best(3, 9), "1110");
  EXPECT_EQ(best(1, 2), "1000");
}

// Two layers, of which the second shares the index of the first.
ModelConfig sharing_model() {
  LatentAttention own = indexed_attention(9, RotaryLayout::kHalves);
  ModelConfig config;
  config.hidden = 20;
  config.vocab = 23;
  config.norm = kNorm;
  config.layers = {{own, DenseMlp{9, false}}, {sharing_attention(), DenseMlp{9, false}}};
  return config;
}

TEST(TokenIndex, OfEachPackedSequence) {
  const ModelConfig config = sharing_model();
  MadeWeights weights(config);
  const auto final_state = [&](const at::Tensor& ids, const Offsets& offsets) {
    PassOptions options;
    options.offsets = offsets;
    ForwardPass pass(weights, {}, ids, options);
    at::Tensor last;
    while (std::optional<HiddenState> state = pass.next()) last = state->hidden;
    return last;
  };
  const at::Tensor ids = seeded_prompt(config.vocab, 20, 3);
  const at::Tensor packed = final_state(ids, {0, 9, 20});
  const at::Tensor alone =
      at::cat({final_state(ids.narrow(1, 0, 9), {}), final_state(ids.narrow(1, 9, 11), {})}, 1);
  EXPECT_LT(largest_difference(packed, alone), 1e-5);
}

// The index only chooses: a step leaves a gradient in every other weight.
TEST(TokenIndex, HasNoGradient) {
  const ModelConfig config = sharing_model();
  MadeWeights weights(config);
  LeafWeights leaves(weights);
  PassOptions options;
  options.gradients = true;
  ForwardPass pass(leaves, {}, seeded_prompt(config.vocab, 20, 3), options);
  at::Tensor last;
  while (std::optional<HiddenState> state = pass.next()) last = state->hidden;
  last.pow(2).sum().backward();
  const std::vector<StoredTensor> stored = leaves.stored();
  for (size_t i = 0; i < stored.size(); ++i) {
    if (stored[i].key == "stored.output") continue;  // the states end before it
    const bool of_index = stored[i].key.find(".index.") != std::string::npos;
    EXPECT_EQ(leaves.without_gradient(i), of_index ? "the index only chooses" : "")
        << stored[i].key;
  }
}

// Layers that run again hand their index on, and take the one that they share as it was.
TEST(TokenIndex, IsSharedByLayersThatRunAgain) {
  const ModelConfig config = sharing_model();
  MadeWeights weights(config);
  const auto gradients_with = [&](const char* recompute) {
    LeafWeights leaves(weights);
    PassOptions options;
    options.gradients = true;
    options.recompute = parse_recompute(recompute);
    ForwardPass pass(leaves, {}, seeded_prompt(config.vocab, 20, 3), options);
    at::Tensor last;
    while (std::optional<HiddenState> state = pass.next()) last = state->hidden;
    last.pow(2).sum().backward();
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < leaves.stored().size(); ++i) gradients.push_back(leaves.gradient(i));
    return gradients;
  };
  const std::vector<at::Tensor> expected = gradients_with("none");
  for (const char* recompute : {"full", "full:2", "block:1", "selective"}) {
    const std::vector<at::Tensor> found = gradients_with(recompute);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_LT(largest_difference(found[i], expected[i]), 1e-5) << recompute << " " << i;
    }
  }
}

}  // namespace
}  // namespace models
