// Tests the parts of Nemotron-H against transformers (data/forward_layers/make_expected.py), and
// layers that are attention or an MLP alone.
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <vector>

#include "models/forward/attention.h"
#include "models/forward/causal_convolution.h"
#include "models/forward/forward.h"
#include "models/forward/mlp.h"
#include "models/forward/norm.h"
#include "models/forward/prompt.h"
#include "models/forward/state_scan.h"
#include "tests/models/made_weights.h"
#include "tests/models/stored_weights.h"

namespace models {
namespace {

constexpr const char* kFile = "nemotron_h.safetensors";
constexpr NormConfig kNorm = {NormKind::kScaleThenCast, 1e-3};

// Of the first tokens.
double attention_difference(const std::string& name, const AttentionConfig& config, int64_t tokens,
                            bool limited_steps = true) {
  StoredWeights weights(kFile, name);
  const at::Tensor x = weights.whole("x").narrow(1, 0, tokens);
  ForwardState state = state_of(x);
  state.limited_steps = limited_steps;
  const at::Tensor y = attention(config, kNorm, weights.layer(), x, state);
  return largest_difference(y, weights.whole("y").narrow(1, 0, tokens));
}

constexpr Mamba2 kMixer = {.heads = 6,
                           .head_dim = 5,
                           .groups = 2,
                           .state = 7,
                           .kernel = 4,
                           .eps = 1e-3,
                           .least_step = 0.3};

// One token is computed by itself, others by chunks of 128.
TEST(Mamba2Mixer, OfAnyLength) {
  for (const int64_t tokens : {1, 2, 3, 4, 127, 128, 129, 133}) {
    EXPECT_LT(attention_difference("mamba", kMixer, tokens), 2e-5) << tokens << " tokens";
  }
}

TEST(Mamba2Mixer, TimeStepsHaveALimit) {
  Mamba2 free = kMixer;
  free.least_step = 0;
  EXPECT_GT(attention_difference("mamba", free, 133), 1e-2);
  EXPECT_GT(attention_difference("mamba", kMixer, 133, /*limited_steps=*/false), 1e-2);
}

struct Scan {
  at::Tensor x, step, rate, b, c;
  at::Tensor by_token() const { return state_scan_by_token(x, step, rate, b, c); }
  at::Tensor by_chunk(int64_t chunk) const {
    return state_scan_by_chunk(x, step, rate, b, c, chunk);
  }
};

TEST(StateScan, ByTokenAndByChunks) {
  const StoredWeights stored(kFile, "scan");
  const auto by_head = [&](const char* name) { return stored.whole(name).transpose(1, 2); };
  const Scan scan = {by_head("x"), by_head("step"), stored.whole("rate"), by_head("b"),
                     by_head("c")};
  const at::Tensor expected = by_head("y");
  EXPECT_LT(largest_difference(scan.by_token(), expected), 1e-5);
  for (const int64_t chunk : {1, 2, 16, 30, 37, 64}) {
    EXPECT_LT(largest_difference(scan.by_chunk(chunk), expected), 1e-5) << "chunks of " << chunk;
  }
}

// Decays between tokens are exponentials of sums, which must not be taken apart into factors: those
// of many tokens are 0 or infinite.
TEST(StateScan, StatesThatAreForgotten) {
  const StoredWeights stored(kFile, "scan");
  const auto by_head = [&](const char* name) { return stored.whole(name).transpose(1, 2); };
  const Scan scan = {by_head("x"), by_head("step"), stored.whole("rate") * 1e4, by_head("b"),
                     by_head("c")};
  EXPECT_LT(largest_difference(scan.by_chunk(37), scan.by_token()), 1e-5);
}

TEST(CausalConvolution, ByItsDefinition) {
  const at::Tensor x = at::arange(12, at::kFloat).view({1, 4, 3}).sin();
  const at::Tensor kernel = at::arange(6, at::kFloat).view({3, 1, 2}).cos();
  const at::Tensor bias = at::arange(3, at::kFloat);
  const at::Tensor y = causal_convolution(x, kernel, bias);
  at::Tensor expected = at::zeros({1, 4, 3});
  for (int64_t t = 0; t < 4; ++t) {
    at::Tensor sum = x.select(1, t) * kernel.select(2, 1).squeeze(1);
    if (t > 0) sum = sum + x.select(1, t - 1) * kernel.select(2, 0).squeeze(1);
    expected.select(1, t).copy_(sum + bias);
  }
  EXPECT_LT(largest_difference(y, expected), 1e-6);
  EXPECT_LT(largest_difference(causal_convolution(x, kernel) + bias, expected), 1e-6);
}

TEST(GroupNorm, EachGroupByItself) {
  const at::Tensor x = at::arange(12, at::kFloat).view({2, 6}).sin();
  const at::Tensor weight = at::arange(6, at::kFloat) + 1;
  const at::Tensor one = group_rms_norm(x, weight, 1, 1e-3);
  EXPECT_EQ(largest_difference(one, rms_norm(x, weight, kNorm)), 0);
  const at::Tensor three = group_rms_norm(x, weight, 3, 1e-3);
  for (int64_t group = 0; group < 3; ++group) {
    const auto part = [&](const at::Tensor& of) { return of.narrow(-1, 2 * group, 2); };
    EXPECT_EQ(largest_difference(part(three), rms_norm(part(x), part(weight), kNorm)), 0);
  }
  EXPECT_GT(largest_difference(one, three), 1e-2);
}

TEST(PlacelessAttention, OfHeadsThatDoNotTurn) {
  GroupedAttention config;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 16;
  EXPECT_LT(attention_difference("placeless", config, 9), 1e-5);
  config.rotary.channels = 16;
  config.rotary.base = 50;
  EXPECT_GT(attention_difference("placeless", config, 9), 1e-2);
}

MixtureOfExperts experts(int64_t latent) {
  MixtureOfExperts config;
  config.router.score = RouterScore::kSigmoid;
  config.router.experts = 6;
  config.router.chosen = 2;
  config.router.groups = 2;
  config.router.chosen_groups = 1;
  config.router.ranked_by = 2;
  config.router.selection_bias = true;
  config.router.normalized = true;
  config.router.factor = 0.7;
  config.width = 14;
  config.shared_width = 11;
  config.activation = Activation::kSquaredRelu;
  config.gated = false;
  config.latent = latent;
  return config;
}

TEST(ExpertsWithoutAGate, WideAndLatent) {
  for (const auto& [name, latent] : {std::pair("wide", 0), {"latent", 9}}) {
    StoredWeights weights(kFile, name);
    const at::Tensor x = weights.whole("x");
    ForwardState state = state_of(x);
    state.ids = x.select(-1, 0).to(at::kLong);
    const auto difference = [&](const MixtureOfExperts& config) {
      return largest_difference(mlp(config, weights.layer(), x, state), weights.whole("y"));
    };
    MixtureOfExperts config = experts(latent);
    EXPECT_LT(difference(config), 2e-5) << name;
    config.activation = Activation::kSilu;
    EXPECT_GT(difference(config), 1e-2) << name;
  }
}

ModelConfig model_of(std::vector<LayerConfig> layers) {
  ModelConfig config;
  config.hidden = 10;
  config.vocab = 23;
  config.norm = {NormKind::kScaleThenCast, 1e-6};
  config.layers = std::move(layers);
  return config;
}

std::vector<at::Tensor> heads_of(const ModelConfig& config) {
  MadeWeights weights(config);
  ForwardPass pass(weights, {}, seeded_prompt(config.vocab, 7, 1));
  while (pass.next()) {
  }
  return pass.heads();
}

// Attention and an MLP in two layers are what they are in one.
TEST(LayersOfOnePart, AreALayerTogether) {
  const MixtureOfExperts latent = experts(3);
  const ModelConfig together = model_of({{kMixer, latent}});
  const ModelConfig apart = model_of({{kMixer, NoMlp()}, {NoAttention(), latent}});
  EXPECT_TRUE(heads_of(together).at(0).equal(heads_of(apart).at(0)));
}

// A depth is one of them, too.
TEST(LayersOfOnePart, InMultiTokenPrediction) {
  ModelConfig config = model_of({{kMixer, NoMlp()}});
  config.mtp = {{NoAttention(), experts(3)}, {NoAttention(), experts(3)}};
  const std::vector<at::Tensor> heads = heads_of(config);
  ASSERT_EQ(heads.size(), 3U);
  EXPECT_GT(largest_difference(heads[1], heads[2]), 1e-2);
}

}  // namespace
}  // namespace models
