// Runs a forward pass on another device than the CPU without having one: on `meta`, whose tensors
// have shapes but no values. The test detects what a GPU would refuse: one operator that gets
// tensors of two devices. Weights and prompt come from the CPU. It also counts where a host would
// wait for a GPU: for values that the CPU needs, and for memory of the host that is copied to the
// GPU while nothing goes on.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <set>
#include <string>
#include <vector>

#include "models/compare/state_comparison.h"
#include "models/forward/forward.h"
#include "models/forward/linear.h"
#include "models/forward/prompt.h"
#include "models/hf/view.h"
#include "tests/data_dir.h"
#include "tests/models/made_weights.h"

namespace models {
namespace {

std::set<std::string> mixed;
std::vector<std::string> waits;  // the operators

void note_devices(const c10::IValue& value, std::set<c10::DeviceType>& found) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (tensor.defined() && tensor.dim() > 0) found.insert(tensor.device().type());
  } else if (value.isTensorList() || value.isOptionalTensorList() || value.isList()) {
    for (const c10::IValue& item : value.toListRef()) note_devices(item, found);
  }
}

c10::IValue moved(const c10::IValue& value, c10::DeviceType from, c10::Device to) {
  if (!value.isTensor() || !value.toTensor().defined()) return value;
  const at::Tensor& tensor = value.toTensor();
  if (tensor.device().type() != from) return value;
  return at::zeros(tensor.sizes(), tensor.options().device(to));
}

bool is_for_the_cpu(const c10::OperatorHandle& op, const torch::jit::Stack& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (op.schema().arguments()[i].name() == "device" && arguments[i].isDevice()) {
      return arguments[i].toDevice().is_cpu();
    }
  }
  return false;
}

// Replaces operators whose shapes ATen computes only in Python, and copies to the CPU: returns the
// shapes of what they compute from zeros on the CPU.
void call_on_zeros(const c10::OperatorHandle& op, const std::vector<c10::IValue>& arguments,
                   torch::jit::Stack* stack) {
  torch::jit::Stack zeros;
  for (const c10::IValue& value : arguments) zeros.push_back(moved(value, at::kMeta, at::kCPU));
  const at::Device results = is_for_the_cpu(op, zeros) ? at::kCPU : at::kMeta;
  op.callBoxed(&zeros);
  const bool in_place = op.schema().is_mutable();
  for (const c10::IValue& value : zeros) {
    stack->push_back(in_place ? arguments[0] : moved(value, at::kCPU, results));
  }
}

bool is_non_blocking(const c10::OperatorHandle& op, const std::vector<c10::IValue>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (op.schema().arguments()[i].name() == "non_blocking") return arguments[i].toBool();
  }
  return false;
}

// Sees every operator that is called while the mode is on, but not the operators that it calls
// itself.
void watch(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::vector<c10::IValue> arguments =
      torch::jit::last(*stack, op.schema().arguments().size()).vec();
  std::set<c10::DeviceType> devices;
  for (const c10::IValue& value : arguments) note_devices(value, devices);
  const std::string name = c10::toString(op.operator_name());
  if (devices.size() > 1) mixed.insert(name);
  const c10::impl::ExcludeDispatchKeyGuard plain(c10::DispatchKey::TESTING_ONLY_GenericMode);
  const size_t below = stack->size() - arguments.size();
  try {
    op.callBoxed(stack);
  } catch (const c10::NotImplementedError&) {
    stack->resize(below);
    call_on_zeros(op, arguments, stack);
  }
  std::set<c10::DeviceType> results;
  for (size_t i = below; i < stack->size(); ++i) note_devices((*stack)[i], results);
  const bool asks_values =
      devices.contains(at::kMeta) && (results.contains(at::kCPU) || name == "aten::nonzero" ||
                                      name == "aten::item" || name == "aten::_local_scalar_dense");
  const bool stands_by =
      devices.contains(at::kCPU) && results.contains(at::kMeta) && !is_non_blocking(op, arguments);
  if (asks_values || stands_by) waits.push_back(name);
}

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&watch>());
}

// Replaces what depends on values, which do not exist here: every row counts, every number is 0.
at::Tensor every_row(const at::Tensor& x) {
  return at::empty({x.numel(), x.dim()}, x.options().dtype(at::kLong));
}

at::Scalar nought(const at::Tensor&) {
  return 0;
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("nonzero", every_row);
  library.impl("_local_scalar_dense", nought);
}

void run_on_meta(Weights& weights, int64_t tokens, at::ScalarType type) {
  const Compute compute{type, at::kMeta};
  const ModelConfig& config = weights.config();
  mixed.clear();
  waits.clear();
  const c10::impl::IncludeDispatchKeyGuard watched(c10::DispatchKey::TESTING_ONLY_GenericMode);
  ForwardPass pass(weights, compute, seeded_prompt(config.vocab, tokens, 1));
  size_t before = 0;
  while (const std::optional<HiddenState> state = pass.next()) {
    EXPECT_LE(waits.size(), before + 1) << state->name;
    before = waits.size();
    EXPECT_EQ(state->hidden.device(), at::kMeta) << state->name;
    EXPECT_EQ(state->hidden.scalar_type(), type) << state->name;
  }
  ASSERT_EQ(pass.heads().size(), 1 + config.mtp.size());
  const OutputLayer output(weights, compute);
  for (const at::Tensor& head : pass.heads()) {
    EXPECT_EQ(linear(head, output.block(0)).device(), at::kMeta);
  }
  EXPECT_TRUE(mixed.empty()) << *mixed.begin();
}

void run_in_both_types(Weights& weights) {
  run_on_meta(weights, 5, at::kFloat);
  run_on_meta(weights, 200, at::kBFloat16);
}

// Where tokens are sent to by what the router makes of them, the host has to know.
int64_t routers(const ModelConfig& config) {
  int64_t count = 0;
  const auto add = [&](const std::vector<LayerConfig>& layers) {
    for (const LayerConfig& layer : layers) {
      count += std::holds_alternative<MixtureOfExperts>(layer.mlp) ? 1 : 0;
    }
  };
  add(config.layers);
  add(config.mtp);
  return count;
}

class OneDevice : public testing::TestWithParam<const char*> {};

TEST_P(OneDevice, HoldsEveryTensor) {
  bridge::MemoryBudget budget(256 << 20);
  const auto weights =
      open_hf_weights(bridge::real_file_system(), data_dir() + "/" + GetParam(), budget);
  run_in_both_types(*weights);
}

TEST_P(OneDevice, IsWaitedForOnceALayer) {
  bridge::MemoryBudget budget(256 << 20);
  const auto weights =
      open_hf_weights(bridge::real_file_system(), data_dir() + "/" + GetParam(), budget);
  run_on_meta(*weights, 5, at::kFloat);
  EXPECT_EQ(std::ssize(waits), routers(weights->config())) << testing::PrintToString(waits);
}

INSTANTIATE_TEST_SUITE_P(Families, OneDevice,
                         testing::Values("bridge_written/qwen3_dense/hf",
                                         "bridge_written/llama_tied/hf",
                                         "bridge_written/qwen3_moe/hf", "deepseek_v3_fp8/hf",
                                         "qwen3_6_moe/hf", "qwen3_5_forms/next/hf",
                                         "deepseek_v4_fp8fp4/hf"));

// Nemotron-H's parts, and a layer of each alone.
TEST(OneDevice, HoldsEveryTensorOfMamba) {
  ModelConfig config = mixed_config();
  const Mamba2 mixer = {.heads = 4,
                        .head_dim = 3,
                        .groups = 2,
                        .state = 5,
                        .kernel = 4,
                        .eps = 1e-5,
                        .least_step = 0.001};
  auto latent = std::get<MixtureOfExperts>(config.layers.at(1).mlp);
  latent.gated = false;
  latent.activation = Activation::kSquaredRelu;
  latent.latent = 3;
  config.layers = {{mixer, NoMlp()}, {NoAttention(), latent}};
  config.mtp = {{mixer, latent}};
  MadeWeights weights(config);
  run_in_both_types(weights);
}

// What is found of states waits on the device for the last of them.
TEST(OneDevice, IsWaitedForOnceByStates) {
  const auto state = [] { return at::empty({1, 3, 8}, at::TensorOptions().device(at::kMeta)); };
  waits.clear();
  const c10::impl::IncludeDispatchKeyGuard watched(c10::DispatchKey::TESTING_ONLY_GenericMode);
  StateComparison comparison({.device = at::kMeta});
  for (const char* name : {"hidden.0", "hidden.1"}) comparison.add(name, state(), state());
  EXPECT_TRUE(waits.empty()) << testing::PrintToString(waits);
  EXPECT_EQ(comparison.finish().size(), 2);
  EXPECT_EQ(waits.size(), 1) << testing::PrintToString(waits);
}

// Shows what the tests above can detect.
TEST(OneDeviceWatch, SeesTwo) {
  const at::Tensor there = at::empty({3}, at::TensorOptions().device(at::kMeta));
  mixed.clear();
  const c10::impl::IncludeDispatchKeyGuard watched(c10::DispatchKey::TESTING_ONLY_GenericMode);
  EXPECT_ANY_THROW(there + at::empty({3}));
  EXPECT_TRUE(mixed.contains("aten::add.Tensor"));
  mixed.clear();
  there.to(at::kFloat) + 1;
  EXPECT_TRUE(mixed.empty());
}

}  // namespace
}  // namespace models
