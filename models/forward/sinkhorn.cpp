#include "models/forward/sinkhorn.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = -1;  // the axis to sum over
constexpr int64_t kColumns = -2;

at::Tensor of_deepseek(const HyperConnections& config, const at::Tensor& logits) {
  const auto by_sum_over = [&](const at::Tensor& matrix, int64_t axis) {
    return matrix / (matrix.sum(axis, /*keepdim=*/true) + config.eps);
  };
  at::Tensor matrix = by_sum_over(logits.softmax(-1) + config.eps, kColumns);
  for (int64_t step = 1; step < config.steps; ++step) {
    matrix = by_sum_over(by_sum_over(matrix, kRows), kColumns);
  }
  return matrix;
}

at::Tensor of_megatron_main(const HyperConnections& config, const at::Tensor& logits) {
  const auto by_sum_over = [&](const at::Tensor& matrix, int64_t axis) {
    return matrix / matrix.sum(axis, /*keepdim=*/true).clamp_min(config.eps);
  };
  at::Tensor matrix = (logits - logits.detach().amax(-1, /*keepdim=*/true)).exp();
  for (int64_t step = 0; step < config.steps; ++step) {
    matrix = by_sum_over(by_sum_over(matrix, kRows), kColumns);
  }
  return matrix;
}

class Sinkhorn : public torch::autograd::Function<Sinkhorn> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits,
                            const HyperConnections& config) {
    context->save_for_backward({logits});
    context->saved_data["steps"] = config.steps;
    context->saved_data["eps"] = config.eps;
    context->saved_data["main"] = config.dialect == HyperDialect::kMegatronMain;
    return sinkhorn_steps(config, logits);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    HyperConnections config;
    config.steps = context->saved_data["steps"].toInt();
    config.eps = context->saved_data["eps"].toDouble();
    if (context->saved_data["main"].toBool()) config.dialect = HyperDialect::kMegatronMain;
    const c10::AutoGradMode records(true);
    const at::Tensor logits = context->get_saved_variables().at(0).detach().set_requires_grad(true);
    const at::Tensor matrix = sinkhorn_steps(config, logits);
    return {torch::autograd::grad({matrix}, {logits}, gradients).at(0), at::Tensor()};
  }
};

}  // namespace

at::Tensor sinkhorn_steps(const HyperConnections& config, const at::Tensor& logits) {
  return config.dialect == HyperDialect::kMegatronMain ? of_megatron_main(config, logits)
                                                       : of_deepseek(config, logits);
}

at::Tensor sinkhorn(const HyperConnections& config, const at::Tensor& logits) {
  // Without autograd, and in InferenceMode, the steps are all there is to do.
  if (!c10::GradMode::is_enabled() || !logits.requires_grad()) {
    return sinkhorn_steps(config, logits);
  }
  return Sinkhorn::apply(logits, config);
}

}  // namespace models
