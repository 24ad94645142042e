// One process's share of the comparison of two checkpoints: its tensors, its layers, and what rank
// 0 makes of the shares of all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/compare/forward_comparison.h"
#include "models/compare/paired_weights.h"
#include "models/compare/rounding.h"
#include "models/forward/forward.h"
#include "models/verify/ranks.h"
#include "models/verify/report_merge.h"
#include "models/verify/verification.h"
#include "models/weights/weights.h"

namespace models {

class SharedComparison {
 public:
  // ids: [B, S]. layers: only these are compared. seed: of LayerInputs. What is referred to must
  // outlive it.
  SharedComparison(bridge::FileSystem& fs, const VerificationOptions& options,
                   const Compute& compute, const at::Tensor& ids,
                   const std::optional<LayerRange>& layers, const std::optional<uint64_t>& seed);

  // Finds the other processes and returns, in rank 0, what all of them found; `process` is then the
  // list of all. types: as in compare_tensors(). Errors: those of Ranks and of the comparisons,
  // which the other processes hear of.
  ReportPart run(Weights& a, Weights& b, const RoundedTypes& types, bridge::MemoryBudget& budget);

 private:
  bridge::PlanFacts facts(const ModelConfig& a, const ModelConfig& b) const;
  ReportPart compare(Ranks& ranks, Weights& a, Weights& b, const RoundedTypes& types) const;
  ForwardVerdict forward(Ranks& ranks, PairedWeights& pair, const LayerRange& share) const;

  bridge::FileSystem& fs_;
  const VerificationOptions& options_;
  const Compute& compute_;
  const at::Tensor& ids_;
  const std::optional<LayerRange>& layers_;
  std::optional<uint64_t> seed_;
};

}  // namespace models
