// The vision tower of a multimodal model: patches of pixels, transformer blocks over them, and a
// merger that produces the input of the text model. Each weight view fills in the sizes from its
// own configuration. The forward pass is that of the text model and needs none of them, but they
// determine which tensors exist (vision_tensors.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace models {

struct VisionTower {
  int64_t blocks = 0;
  int64_t width = 0;   // of the residual stream
  int64_t heads = 0;   // of queries, keys and values alike, width / heads channels each
  int64_t hidden = 0;  // of a block's MLP
  // A patch has `channels` channels and `frames` frames of patch x patch pixels.
  int64_t channels = 0;
  int64_t frames = 0;
  int64_t patch = 0;
  int64_t places = 0;     // learned position embeddings
  int64_t merge = 0;      // merge x merge neighbouring patches become one token of the text model
  int64_t output = 0;     // size of that token
  int64_t deepstack = 0;  // further mergers, each of one block's result (Qwen3-VL)
  // Qwen2.5-VL's kind: RMSNorm, gated MLPs, no learned positions, no bias of the patch embedding.
  bool gated = false;
};

// Every size by name ("blocks", "27"), in a fixed order.
std::vector<std::pair<std::string, std::string>> describe(const VisionTower& tower);

// Refuses sizes that no tensor could have, heads that do not divide the width, and more further
// mergers than blocks (kBadInput).
void check(const VisionTower& tower);

}  // namespace models
