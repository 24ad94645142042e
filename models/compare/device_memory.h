// What two forward passes that run side by side (paired_weights.h) hold on a device, known before
// they run, and what becomes of the memory that is left there.
//
//   weights    the largest tensor, or block of a large one, of each side: its codes, its values and
//              these in the type of the computation; PairedWeights::kMostKept; one copy under way
//   states     for every token of the prompt, of both sides: the residual stream and what compares
//              it; inputs and results of the linears of the layer that has most, and as much again
//              for what is made of them; the scores of a block of queries
//   heads      a block of the output layer of each side, logits and their statistics, the input of
//              every head
// A quarter more is counted for gaps between tensors, and what cuBLAS works with. It is an estimate
// from above for models of usual sizes. The context of the driver and LibTorch's kernels come on
// top, which no allocator counts.
#pragma once

#include <cstdint>
#include <optional>

#include "models/forward/forward.h"
#include "models/model/model_config.h"

namespace models {

struct DeviceNeed {
  int64_t weights = 0;  // bytes
  int64_t states = 0;
  int64_t heads = 0;
  int64_t all() const;
};

// Of prompts of so many tokens each.
DeviceNeed device_need(const ModelConfig& config, int64_t prompts, int64_t tokens,
                       const std::optional<LayerRange>& layers = {});

constexpr int64_t kMostCopiesAhead = 512 << 20;  // bytes

// The bytes of copies that the host may be ahead of the device with: what is left, at most
// kMostCopiesAhead. free: what the device has; cap: --device-memory. Errors: kUsage if the cap is
// too small, with the size that is needed; kIo if the device has too little.
int64_t copies_ahead(const DeviceNeed& need, int64_t free, const std::optional<int64_t>& cap);

}  // namespace models
