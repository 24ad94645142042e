// Recomputation of hyper-connections: a step with less memory and the same gradients.
//
//   1. The layers form blocks. Of every layer these results are dropped when its block ends: the
//      input of attention and MLP that is read from the streams, the norms of the two where they
//      are steps of their own (a checkpoint of TransformerEngine's linears has them inside), and
//      the streams after each part. The streams after a block's last MLP are kept: the next block
//      begins with them. What the streams say about mixing them (HyperMix) is kept too.
//   2. When the gradient of a block's last streams is known, before any layer of the block needs
//      its results, all of them are computed again, in the order of the pass: each may read the one
//      before. They return into the memory objects that they left, so that whoever saved a view of
//      one sees it.
//   3. The gradient of each part is that of its second computation.
// With L layers in B blocks, n streams of width D and T tokens, T D (2 L + n (2 L - B)) numbers are
// dropped, and T D 2 L more where norms are steps of their own.
// Truth: Megatron-LM pull request 4531: hyper_connection.py (build_mhc_recompute_layer_plan),
// tensor_parallel/random.py (CheckpointWithoutOutput, CheckpointWithoutOutputManager).
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <vector>

#include "models/forward/layer_parts.h"
#include "models/weights/weights.h"

namespace models {

class DroppedResult;

// True for each layer that ends a block: every `block`th, and the last.
std::vector<bool> mhc_block_ends(int64_t layers, int64_t block);

// For one pass with gradients, and one thread. What it leaves in the graph of that pass does not
// need it, so it may go before the backward pass.
class MhcRecompute : public LayerParts {
 public:
  // block: layers of a block, from 1 on. weights must outlive the object.
  MhcRecompute(Weights& weights, int64_t block);
  ~MhcRecompute() override;

  at::Tensor run(int64_t layer, LayerPart part, const Function& function,
                 const Inputs& inputs) override;
  void end(int64_t layer, const at::Tensor& streams) override;

  // Of all results dropped so far.
  int64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  bool keeps(int64_t layer, LayerPart part) const;

  Weights& weights_;
  std::vector<bool> ends_;
  std::vector<c10::intrusive_ptr<DroppedResult>> block_;  // of the present block, in order
  int64_t dropped_bytes_ = 0;
};

}  // namespace models
