// The vision tower of a multimodal model: patches of pixels, transformer blocks over them, and a merger that makes what the
// text model reads. Its sizes, as each weight view knows them from its own configuration; the forward pass is that of the
// text model and needs none of them, but they say which tensors there are (vision_tensors.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace models {

struct VisionTower {
  int64_t blocks = 0;
  int64_t width = 0;   // of the residual stream
  int64_t heads = 0;   // of queries, and as many of keys and values, width / heads each
  int64_t hidden = 0;  // of a block's MLP
  // A patch: so many channels of so many frames of patch x patch pixels.
  int64_t channels = 0;
  int64_t frames = 0;
  int64_t patch = 0;
  int64_t places = 0;  // learned position embeddings
  int64_t merge = 0;   // merge x merge neighbouring patches become one token of the text model
  int64_t output = 0;  // size of that token
};

// Every size by name ("blocks", "27"), in a fixed order.
std::vector<std::pair<std::string, std::string>> describe(const VisionTower& tower);

// Refuses sizes that no tensor could have and heads that do not divide the width (kBadInput).
void check(const VisionTower& tower);

}  // namespace models
