// Megatron-Core's HybridModel. Each attention and each MLP is a layer of its own (a block here),
// and hybrid_layer_pattern says which: 'M' Mamba-2, '*' attention, '-' a dense MLP, 'E' a mixture
// of experts; after each '/' it has the blocks of a depth of multi-token prediction.
//   layers   without Mamba-2, a pair of attention and MLP, which computes what a layer of a
//            GPTModel does; with it, one block
//   depths   one block, or attention or Mamba-2 before an MLP or experts
//   keys     decoder.layers.6.self_attention.X and decoder.layers.7.mlp.X of the fourth pair,
//            decoder.layers.3.mixer.X, mtp.layers.0.mtp_model_layer.layers.1.mlp.X,
//            decoder.final_norm
// Truth: megatron/core/models/hybrid/hybrid_layer_allocation.py, hybrid_block.py, hybrid_model.py
// (0.19.2).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/model/model_config.h"
#include "models/weights/settings.h"

namespace models {

class HybridBlocks {
 public:
  // The characters of a layer's blocks; ' ': it has no such block.
  struct Layer {
    char attention = ' ';
    char mlp = ' ';
  };

  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Layer>& depths() const { return depths_; }
  bool has_mamba() const { return has_mamba_; }

  // The number of the block that has a tensor of a layer or depth. inner: the key after the block.
  int64_t in_layer(int64_t layer, std::string_view inner) const;
  int64_t in_depth(int64_t depth, std::string_view inner) const;

 private:
  friend std::optional<HybridBlocks> hybrid_blocks(const Settings& model);

  std::vector<Layer> layers_;
  std::vector<Layer> depths_;
  bool has_mamba_ = false;
};

// nullopt: the model is a GPTModel. Errors: kUnsupported for blocks that make no such layers and
// depths, and for settings that have another effect in a HybridModel.
std::optional<HybridBlocks> hybrid_blocks(const Settings& model);

// The mixer of a block 'M'.
Mamba2 mamba_of(const Settings& model);

}  // namespace models
