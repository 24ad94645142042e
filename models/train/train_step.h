// One training step without an optimizer: losses, and the gradients that they leave in the weights.
//
//   1. The forward pass (models/forward/forward.h) runs on weights that are leaves, in fp32 and
//      without dropout.
//   2. The targets are shifted once for each multi-token prediction depth, and every head has its
//      loss (loss.h). Under context parallelism every rank shifts its share of them and has the
//      losses of its share of tokens (context_parallel.h); attention sees the whole row, which is
//      in this process.
//   3. The gradient is that of the step's loss, plus the routers' losses if asked for
//      (router_loss.h).
//   4. Parts that the options name run twice instead of keeping what they computed
//      (models/forward/recompute.h), and linears may be computed in emulated FP8 (fp8_linears.h).
// What Megatron-Core hangs onto another tensor with MTPLossAutoScaler is added here: the values of
// the losses are the same, and so are the gradients of one microbatch with a scale of one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/forward/recompute.h"
#include "models/train/batch.h"
#include "models/train/fp8_linears.h"
#include "models/train/leaf_weights.h"

namespace models {

struct StepOptions {
  double mtp_loss_scale = 0;
  int64_t ranks = 1;  // of context parallelism
  // Settings by which the routers' losses are added; nullopt: they are not.
  std::optional<TrainingSettings> router_loss = std::nullopt;
  // Layers of a block whose hyper-connections are computed again (mhc_recompute.h); 0: none are.
  int64_t mhc_block = 0;
  // What the sums are divided by, main and depths, instead of their own counts; empty: those. With
  // the counts of a packed row, the gradients of its sequences alone add up to those of the row.
  std::vector<double> counts = {};
  Recompute recompute = {};
  // How tokens with three positions turn.
  std::optional<RotarySections> sections = std::nullopt;
  // Computes the linears, and keeps the scales of delayed scaling from step to step; null: fp32.
  Fp8Linears* fp8 = nullptr;
};

// The sum over tokens of what a head loses, and how many tokens count.
struct LossValue {
  double sum = 0;
  double count = 0;
  double mean() const { return count == 0 ? 0 : sum / count; }
};

struct StepLosses {
  LossValue main;
  std::vector<LossValue> mtp;
};

struct StepResult {
  StepLosses losses;
  std::vector<StepLosses> of_ranks;  // their sums and counts add up to those of `losses`
  double router_loss = 0;
  int64_t peak_activation_bytes = 0;  // the most that was kept for the backward pass at once
  int64_t dropped_bytes = 0;          // of results that the backward pass computed again
};

// Refuses models of which no training step is computed (kUnsupported): classifiers, Mamba-2.
void check_trained(const ModelConfig& config);

// Adds the gradients to those in `weights`. Errors: kBadInput for tokens and labels outside the
// vocabulary and for sequences that cannot be cut for the ranks; kUnsupported as above, naming a
// layer for context parallelism of linear or compressed attention, and for three positions of a
// token in a model that turns by one; kUsage for a recomputation that the model does not allow, and
// for two that exclude each other.
StepResult train_step(LeafWeights& weights, const Batch& batch, const StepOptions& options);

}  // namespace models
