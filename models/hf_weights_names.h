// What Hugging Face checkpoints call the canonical tensors. One list of names a family of models; a name is the part after
// the layer ("model.layers.3."). Released checkpoints keep DeepSeek-V3's multi-token prediction depths as further layers.
// Truth: the released checkpoints' indexes; transformers' modeling_*.py.
#pragma once

#include <string>
#include <string_view>

#include "models/hf_weights_config.h"
#include "models/tensor_id.h"

namespace models {

class HfNames {
 public:
  // prefix: "model." or "", the spelling of a bare model; the output layer never has one.
  HfNames(HfFamily family, const ModelConfig& config, std::string prefix);

  std::string name(const TensorId& id) const;
  // Of tensors that a checkpoint may have and the model does not use: copies of the embedding and the output layer, tables
  // of rotary frequencies.
  bool is_unused(std::string_view name) const;

 private:
  HfFamily family_;
  int64_t layers_;
  int64_t depths_;
  bool tied_;
  std::string prefix_;
};

}  // namespace models
