// Linears in emulated FP8 (fp8.h), with the states of delayed scaling and how recomputation uses
// them.
//
//   products   y = x8 w8^T; dx = g8 w8; dw = g8^T x8. By blocks, x and g are rounded for each
//              product on their own, as blocks lie along the axis that it adds up
//   modules    one for each weight, with a state each of input, weight and gradient. Megatron-Core
//              has q, k and v, or gate and up, in one module, which then share an amax
//   regions    only in a region are linears in FP8. Delayed scaling has an outer region around all
//              layers, other recipes have one a layer. Where the outermost one is left and
//              gradients are recorded, the scales of inputs and weights move on; those of gradients
//              do after the backward pass. A second run moves nothing on
//   stash      If a region is open where a checkpoint begins, each module keeps a copy of its
//              states before each call in the first run, and in the second takes the oldest: first
//              in, first out. The present states come back after the call. So the second run rounds
//              as the first did, although the scales have moved on. A second run that finds no copy
//              is an error and never goes on with the present scale
// A packed row calls a module once for each sequence.
// Truth: TransformerEngine pytorch/quantization.py (FP8GlobalStateManager), distributed.py
// (_CheckpointFunction); megatron/core/transformer/transformer_block.py
// (use_outer_quantization_context).
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "models/forward/linear.h"
#include "models/train/fp8.h"

namespace models {

class Fp8Linears : public LinearRule {
 public:
  explicit Fp8Linears(Fp8Recipe recipe, const Fp8Delay& delay = {})
      : recipe_(recipe), delay_(delay) {}

  // Errors: kInternal naming the module for a second run without a copy of the first.
  at::Tensor linear(const std::string& module, const at::Tensor& x,
                    const at::Tensor& weight) override;
  bool has_outer_region() const override { return recipe_ == Fp8Recipe::kDelayed; }
  // Error: kInternal for an outer region of another recipe than delayed scaling: it would compute
  // in FP8 what lies between the layers' own.
  void enter(Region region) override;
  void leave() override;
  bool begin_first() override;
  void end_first() override;
  void begin_again(bool of_first) override;
  void end_again(bool of_first) override;

  // After the backward pass of a step.
  void end_step();

  struct Module {
    DelayedScale input;
    DelayedScale weight;
    DelayedScale gradient;
  };
  // The states of a module that was called; of delayed scaling only.
  const Module& module(const std::string& name) const { return entries_.at(name)->now; }

 private:
  struct Entry {
    Module now;
    std::deque<std::pair<DelayedScale, DelayedScale>> stash;  // input, weight
    bool called = false;                                      // since the last update
  };

  Entry& entry(const std::string& module);
  at::Tensor delayed(const std::string& module, const at::Tensor& x, const at::Tensor& weight);

  Fp8Recipe recipe_;
  Fp8Delay delay_;
  std::map<std::string, std::unique_ptr<Entry>> entries_;  // the backward pass has pointers to them
  int depth_ = 0;                                          // of regions
  bool first_ = false;
  bool again_ = false;
};

}  // namespace models
