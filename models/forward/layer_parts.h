// The small parts of a decoder layer with hyper-connections, around attention and MLP: reading the
// streams, the norm, and the merge of the result with the streams. A training step may drop their
// results and compute them again (models/train/mhc_recompute.h), because they cost little.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace models {

enum class LayerPart {
  kAttentionInput,
  kAttentionNorm,
  kAttentionMerge,
  kMlpInput,
  kMlpNorm,
  kMlpMerge,
};

class LayerParts {
 public:
  using Inputs = std::vector<at::Tensor>;
  using Function = std::function<at::Tensor(const Inputs&)>;

  virtual ~LayerParts() = default;

  // Gives function(inputs). The function gives a new tensor, reads no tensor but its inputs, and
  // may be called again after the pass.
  virtual at::Tensor run(int64_t layer, LayerPart part, const Function& function,
                         const Inputs& inputs) = 0;
  // The layer is done. streams: what it leaves to the next one.
  virtual void end(int64_t layer, const at::Tensor& streams) = 0;
};

}  // namespace models
