#include "models/forward/checkpoint.h"

#include <ATen/SequenceNumber.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "bridge/io/base/error.h"

namespace models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Node;

// What the node of a checkpoint keeps beside the saved arguments.
struct Region : torch::CustomClassHolder {
  std::string name;
  RecomputedPart part;
  std::vector<bool> given;  // of every argument: false for none
  RunObserver* observer = nullptr;
  bool of_first = false;

  // saved: the arguments that were given.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& saved) const {
    std::vector<at::Tensor> arguments;
    auto next = saved.begin();
    for (const bool here : given) arguments.push_back(here ? *next++ : at::Tensor());
    return part(arguments);
  }
};

class FirstRun {
 public:
  explicit FirstRun(Region& region) : observer_(region.observer) {
    if (observer_ != nullptr) region.of_first = observer_->begin_first();
  }
  FirstRun(const FirstRun&) = delete;
  FirstRun& operator=(const FirstRun&) = delete;
  ~FirstRun() {
    if (observer_ != nullptr) observer_->end_first();
  }

 private:
  RunObserver* observer_;
};

class SecondRun {
 public:
  explicit SecondRun(const Region& region) : region_(region) {
    if (region_.observer != nullptr) region_.observer->begin_again(region_.of_first);
  }
  SecondRun(const SecondRun&) = delete;
  SecondRun& operator=(const SecondRun&) = delete;
  ~SecondRun() {
    if (region_.observer != nullptr) region_.observer->end_again(region_.of_first);
  }

 private:
  const Region& region_;
};

// Operations are numbered as they are recorded, and leaves have the highest number: what was
// recorded before the second run began came in by the closure.
void refuse_captured(const std::string& name, const std::vector<at::Tensor>& results,
                     uint64_t first_of_run) {
  std::vector<const Node*> waiting;
  std::unordered_set<const Node*> seen;
  const auto visit = [&](const Node* node) {
    if (node != nullptr && seen.insert(node).second) waiting.push_back(node);
  };
  for (const at::Tensor& result : results) visit(result.grad_fn().get());
  while (!waiting.empty()) {
    const Node* const node = waiting.back();
    waiting.pop_back();
    if (node->sequence_nr() < first_of_run) {
      bridge::internal_error(
          fmt::format("recomputation of {}: a tensor made by {} needs a gradient and is captured, "
                      "not an argument",
                      name, node->name()));
    }
    for (const torch::autograd::Edge& edge : node->next_edges()) visit(edge.function.get());
  }
}

class Checkpoint : public torch::autograd::Function<Checkpoint> {
 public:
  static torch::autograd::variable_list forward(AutogradContext* context,
                                                const c10::intrusive_ptr<Region>& region,
                                                at::TensorList arguments) {
    context->saved_data["region"] = c10::IValue::make_capsule(region);
    context->save_for_backward(arguments.vec());
    context->set_materialize_grads(false);
    const FirstRun run(*region);
    return region->run(arguments.vec());
  }

  static torch::autograd::variable_list backward(AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto capsule = context->saved_data["region"].toCapsule();
    const auto& region = static_cast<const Region&>(*capsule);
    std::vector<at::Tensor> arguments;
    // The first is that of the region, which has none. A leaf would copy a gradient into another
    // layout, in which products round otherwise, so that it is taken on its way.
    std::vector<at::Tensor> found(1);
    for (const at::Tensor& saved : context->get_saved_variables()) {
      arguments.push_back(saved.detach().set_requires_grad(saved.requires_grad()));
      found.emplace_back();
    }
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (!arguments[i].requires_grad()) continue;
      arguments[i].register_hook(
          [&gradient = found[i + 1]](const at::Tensor& arrived) { gradient = arrived; });
    }
    const c10::AutoGradMode records(true);
    const uint64_t first_of_run = at::sequence_number::peek();
    std::vector<at::Tensor> results;
    {
      const SecondRun run(region);
      results = region.run(arguments);
    }
    refuse_captured(region.name, results, first_of_run);
    torch::autograd::variable_list roots;
    torch::autograd::variable_list arrived;
    for (size_t i = 0; i < results.size(); ++i) {
      if (!gradients[i].defined() || !results[i].requires_grad()) continue;
      roots.push_back(results[i]);
      arrived.push_back(gradients[i]);
    }
    if (!roots.empty()) torch::autograd::backward(roots, arrived);
    return found;
  }
};

}  // namespace

std::vector<at::Tensor> checkpoint(const std::string& name, const RecomputedPart& part,
                                   const std::vector<at::Tensor>& arguments,
                                   RunObserver* observer) {
  auto region = c10::make_intrusive<Region>();
  region->name = name;
  region->part = part;
  region->observer = observer;
  std::vector<at::Tensor> saved;
  for (const at::Tensor& argument : arguments) {
    region->given.push_back(argument.defined());
    if (argument.defined()) saved.push_back(argument);
  }
  const bool passes = std::any_of(saved.begin(), saved.end(),
                                  [](const at::Tensor& x) { return x.requires_grad(); });
  if (!passes) {
    bridge::internal_error(fmt::format(
        "recomputation of {}: no argument needs a gradient, so the result would have none", name));
  }
  return Checkpoint::apply(region, at::TensorList(saved));
}

}  // namespace models
