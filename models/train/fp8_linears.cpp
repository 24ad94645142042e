#include "models/train/fp8_linears.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr int64_t kBlock = 128;

using Rounding = std::function<at::Tensor(const at::Tensor&)>;

// What a linear rounds, all of it [tokens, channels] or [out, in].
struct Roundings {
  Rounding input;              // for y
  Rounding input_by_token;     // for dw, which adds up tokens
  Rounding weight;             // for both
  Rounding gradient;           // for dx
  Rounding gradient_by_token;  // for dw
  bool two = false;            // the roundings for dw are others
};

// Of the gradient alone: what the node of a linear keeps.
struct GradientRounding : torch::CustomClassHolder {
  Rounding gradient;
  Rounding gradient_by_token;
};

class RoundedLinear : public torch::autograd::Function<RoundedLinear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const Roundings& rounding) {
    const at::Tensor tokens = x.flatten(0, -2);
    const at::Tensor input = rounding.input(tokens);
    const at::Tensor rounded = rounding.weight(weight);
    auto of_gradient = c10::make_intrusive<GradientRounding>();
    of_gradient->gradient = rounding.gradient;
    of_gradient->gradient_by_token = rounding.gradient_by_token;
    context->saved_data["rounding"] = c10::IValue::make_capsule(std::move(of_gradient));
    context->save_for_backward({rounding.two ? rounding.input_by_token(tokens) : input, rounded});
    return models::linear(input, rounded).unflatten(0, x.sizes().slice(0, x.dim() - 1));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto capsule = context->saved_data["rounding"].toCapsule();
    const auto& rounding = static_cast<const GradientRounding&>(*capsule);
    const std::vector<at::Tensor> saved = context->get_saved_variables();
    const at::Tensor gradient = gradients[0].flatten(0, -2);
    const at::Tensor rounded = rounding.gradient(gradient);
    const at::Tensor of_x = rounded.matmul(saved[1]);
    const at::Tensor by_token =
        rounding.gradient_by_token ? rounding.gradient_by_token(gradient) : rounded;
    return {of_x.unflatten(0, gradients[0].sizes().slice(0, gradients[0].dim() - 1)),
            by_token.t().matmul(saved[0]), at::Tensor()};
  }
};

Roundings of_current() {
  const auto of = [](Fp8Format format) {
    return [format](const at::Tensor& x) { return rounded_to_fp8(x, format); };
  };
  Roundings rounding;
  rounding.input = rounding.weight = of(Fp8Format::kE4M3);
  rounding.gradient = of(Fp8Format::kE5M2);
  return rounding;
}

Roundings of_blocks() {
  const auto of = [](int64_t rows, int64_t columns) {
    return [=](const at::Tensor& x) { return rounded_to_fp8_by_block(x, rows, columns); };
  };
  Roundings rounding;
  rounding.input = rounding.gradient = of(1, kBlock);
  rounding.input_by_token = rounding.gradient_by_token = of(kBlock, 1);
  rounding.weight = of(kBlock, kBlock);
  rounding.two = true;
  return rounding;
}

}  // namespace

Fp8Linears::Entry& Fp8Linears::entry(const std::string& module) {
  std::unique_ptr<Entry>& found = entries_[module];
  if (!found) {
    const DelayedScale fresh(delay_);
    found = std::make_unique<Entry>(Entry{{fresh, fresh, fresh}, {}, false});
  }
  return *found;
}

at::Tensor Fp8Linears::linear(const std::string& module, const at::Tensor& x,
                              const at::Tensor& weight) {
  if (depth_ == 0) return models::linear(x, weight);
  switch (recipe_) {
    case Fp8Recipe::kDelayed:
      return delayed(module, x, weight);
    case Fp8Recipe::kCurrent:
      return RoundedLinear::apply(x, weight, of_current());
    case Fp8Recipe::kBlock:
      return RoundedLinear::apply(x, weight, of_blocks());
  }
  return {};
}

at::Tensor Fp8Linears::delayed(const std::string& module, const at::Tensor& x,
                               const at::Tensor& weight) {
  Entry& entry = this->entry(module);
  std::pair<DelayedScale, DelayedScale> present(entry.now.input, entry.now.weight);
  if (again_) {
    if (entry.stash.empty()) {
      bridge::internal_error(fmt::format(
          "recomputation of {}: the FP8 scales of its first run were not kept", module));
    }
    std::tie(entry.now.input, entry.now.weight) = std::move(entry.stash.front());
    entry.stash.pop_front();
  } else if (first_) {
    entry.stash.push_back(present);
  }
  Roundings rounding;
  rounding.input = [&](const at::Tensor& y) {
    return entry.now.input.rounded(y, Fp8Format::kE4M3);
  };
  rounding.weight = [&](const at::Tensor& y) {
    return entry.now.weight.rounded(y, Fp8Format::kE4M3);
  };
  rounding.gradient = [&entry](const at::Tensor& y) {
    return entry.now.gradient.rounded(y, Fp8Format::kE5M2);
  };
  const at::Tensor result = RoundedLinear::apply(x, weight, rounding);
  if (again_) {
    std::tie(entry.now.input, entry.now.weight) = std::move(present);
  } else {
    entry.called = true;
  }
  return result;
}

void Fp8Linears::enter(Region region) {
  if (region == Region::kOuter && recipe_ != Fp8Recipe::kDelayed) {
    bridge::internal_error("FP8: only delayed scaling has a region around all layers");
  }
  ++depth_;
}

void Fp8Linears::leave() {
  if (--depth_ > 0 || again_ || !c10::GradMode::is_enabled()) return;
  for (auto& [name, entry] : entries_) {
    if (!entry->called) continue;
    entry->now.input.update(delay_, Fp8Format::kE4M3);
    entry->now.weight.update(delay_, Fp8Format::kE4M3);
    entry->called = false;
  }
}

bool Fp8Linears::begin_first() {
  first_ = depth_ > 0;
  return first_;
}

void Fp8Linears::end_first() {
  first_ = false;
}

// The region that was open around the first run is opened again.
void Fp8Linears::begin_again(bool of_first) {
  again_ = true;
  if (of_first) ++depth_;
}

void Fp8Linears::end_again(bool of_first) {
  if (of_first) --depth_;
  again_ = false;
}

void Fp8Linears::end_step() {
  for (auto& [name, entry] : entries_) entry->now.gradient.update(delay_, Fp8Format::kE5M2);
}

}  // namespace models
