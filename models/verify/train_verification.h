// verify --mode train-step: one training step of one checkpoint, or of two that should be the same
// model.
//
//   one   losses; norm and checksum of every gradient; tensors without gradient, with the reason. A
//         packed row is also computed sequence by sequence, and sums and gradients must add up to
//         those of the row. With recomputation, of layers or of hyper-connections, the step is also
//         computed without, and must be the same
//   two   the losses and the gradient of every canonical tensor of both, bit for bit where the
//         models are equal, else within a tolerance
// Truth: docs/verification.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/train/train_step.h"
#include "models/verify/verification.h"

namespace models {

// The row that the options name: a file of one (models/train/batch.h), numbers, or a prompt from
// the seed. Errors: kUsage for more than one prompt; those of reading.
Batch training_batch(bridge::FileSystem& fs, const VerificationOptions& options, int64_t vocab,
                     bridge::MemoryBudget& budget);

struct GradientSummary {
  std::string key;  // the checkpoint's
  double norm = 0;
  uint32_t crc32 = 0;  // of the numbers in F32, in the checkpoint's order
};

// Two ways of computing the same step.
struct StepComparison {
  bool equal = true;
  bool bit_for_bit = false;  // had to be identical
  int64_t gradients = 0;     // compared
  double largest_loss = 0;   // relative difference of a sum
  double largest = 0;        // of a gradient: |d| / |g|
  std::string largest_of;    // its tensor
  std::vector<std::string> different;
};

// What a step gave. With two checkpoints it is the second's.
struct TrainVerdict {
  StepResult result;
  double mtp_loss_scale = 0;
  std::string scale_from;
  bool router_loss = false;
  std::vector<GradientSummary> gradients;
  std::vector<std::pair<std::string, std::string>> without_gradient;  // key and reason
  int64_t bytes_needed = 0;
  std::string recompute;                     // as given
  std::string recompute_note;                // what it leaves out; empty: nothing
  std::string fp8;                           // the recipe
  std::optional<StepComparison> recomputed;  // against the step without recomputation
  std::optional<StepComparison> packed;      // a packed row against its sequences alone
  int64_t mhc_block = 0;                     // 0: nothing is computed again
  std::string mhc_from;                      // what says so
  std::optional<StepComparison> mhc;         // with it against without, of one checkpoint
  std::optional<StepComparison> sides;       // the second checkpoint against the first
  bool equal() const {
    return (!recomputed || recomputed->equal) && (!packed || packed->equal) &&
           (!mhc || mhc->equal) && (!sides || sides->equal);
  }
};

// second: null with one checkpoint. bit_for_bit: the two are the same model. Writes --dump. Errors:
// kUsage with the size needed if the step does not fit into the budget; kUnsupported for settings
// with which a step is not computed; those of train_step.
TrainVerdict verify_train_step(bridge::FileSystem& fs, const VerificationOptions& options,
                               const Batch& batch, Weights& first, Weights* second,
                               bool bit_for_bit, bridge::MemoryBudget& budget);

}  // namespace models
