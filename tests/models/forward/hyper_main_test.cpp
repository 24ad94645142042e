// One site of Megatron-LM main's hyper-connections, values and gradients, against what the real
// module computed (data/megatron_main_mhc, made by tests/oracles/megatron_main_mhc.py).
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "models/forward/hyper_connection.h"
#include "tests/models/expected.h"

namespace models {
namespace {

constexpr HyperConnections kMain = {4, 20, 1e-6, HyperDialect::kMegatronMain};
constexpr double kUnusedEps = 1;  // the module has a constant of its own

at::Tensor megatron_says(const std::string& name) {
  return expected_tensor("megatron_main_mhc/module.safetensors", name);
}

at::Tensor leaf(const std::string& name) {
  return megatron_says(name).set_requires_grad(true);
}

double difference(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / expected.norm()).item<double>();
}

// A site between the streams of two sequences and what a part of a layer gave.
struct Site {
  at::Tensor x = leaf("x");  // [7, 2, 4 * 16]
  at::Tensor y = leaf("y");  // [7, 2, 16]
  std::vector<at::Tensor> parameters = {leaf("parameter.mapping_proj.weight"),
                                        leaf("parameter.bias"), leaf("parameter.alpha_pre"),
                                        leaf("parameter.alpha_post"), leaf("parameter.alpha_res")};
  HyperMix mix;
  at::Tensor input;
  at::Tensor merged;

  explicit Site(const HyperConnections& config) {
    const at::Tensor streams = x.unflatten(-1, {4, -1});
    const at::Tensor scale = at::cat({parameters[2], parameters[3], parameters[4]});
    mix = hyper_mapping(config, kUnusedEps, {parameters[0], parameters[1], scale}, streams);
    input = hyper_input(mix.pre, streams);
    merged = hyper_after(mix.post, mix.mix, y, streams);
  }
};

TEST(HyperConnectionOfMain, Values) {
  const Site site(kMain);
  EXPECT_LT(difference(site.input, megatron_says("input")), 1e-6);
  EXPECT_LT(difference(site.mix.post, megatron_says("post")), 1e-6);
  EXPECT_LT(difference(site.mix.mix.transpose(-1, -2), megatron_says("mix")), 1e-6);
  EXPECT_LT(difference(site.merged.flatten(2), megatron_says("merged")), 1e-6);
}

TEST(HyperConnectionOfMain, Gradients) {
  const Site site(kMain);
  const at::Tensor loss =
      (site.merged.flatten(2) * megatron_says("upstream")).sum() + site.input.square().sum();
  std::vector<at::Tensor> inputs = {site.x, site.y};
  inputs.insert(inputs.end(), site.parameters.begin(), site.parameters.end());
  const std::vector<at::Tensor> found = torch::autograd::grad({loss}, inputs);
  const char* names[] = {"x",          "y",        "mapping_proj.weight", "bias", "alpha_pre",
                         "alpha_post", "alpha_res"};
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_LT(difference(found[i], megatron_says(std::string("grad.") + names[i])), 1e-5)
        << names[i];
  }
}

// The dialects have equal tensors and are told apart by nothing else.
TEST(HyperConnectionOfMain, IsNotDeepSeeks) {
  HyperConnections deepseek = kMain;
  deepseek.dialect = HyperDialect::kDeepSeek;
  EXPECT_GT(difference(Site(deepseek).merged.flatten(2), megatron_says("merged")), 1e-2);
}

TEST(HyperConnection, TheMergeIsItsTwoParts) {
  const Site site(kMain);
  const at::Tensor streams = site.x.unflatten(-1, {4, -1});
  const at::Tensor parts = hyper_spread(site.mix.post, site.y) + hyper_mixed(site.mix.mix, streams);
  EXPECT_TRUE(site.merged.equal(parts));
  // By hand, for one stream of one token.
  at::Tensor stream = site.mix.post[3][1][2] * site.y[3][1];
  for (int64_t j = 0; j < 4; ++j) {
    stream = stream + site.mix.mix[3][1][j][2] * streams[3][1][j];
  }
  EXPECT_LT(difference(site.merged[3][1][2], stream), 1e-6);
}

TEST(HyperConnectionOfMain, EndsWithTheMeanOfTheStreams) {
  const at::Tensor streams = megatron_says("x").unflatten(-1, {4, -1});
  const at::Tensor mean =
      (streams.select(2, 0) + streams.select(2, 1) + streams.select(2, 2) + streams.select(2, 3)) /
      4;
  EXPECT_LT(difference(hyper_head(kMain, kUnusedEps, {}, streams), mean), 1e-6);
}

}  // namespace
}  // namespace models
