#include "models/model/vision_tensors.h"

namespace models {
namespace {

void for_each_of_block(const VisionTower& tower, int64_t block, const TensorVisitor& visit) {
  const int64_t width = tower.width;
  const auto add = [&](Role role, const bridge::Shape& shape) {
    visit({role, Section::kVisionBlock, block}, shape);
  };
  add(Role::kAttentionNorm, {width});
  if (!tower.gated) add(Role::kAttentionNormBias, {width});
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) add(role, {width, width});
  for (const Role role : {Role::kQBias, Role::kKBias, Role::kVBias, Role::kOBias}) {
    add(role, {width});
  }
  add(Role::kMlpNorm, {width});
  if (!tower.gated) add(Role::kMlpNormBias, {width});
  if (tower.gated) {
    add(Role::kGate, {tower.hidden, width});
    add(Role::kGateBias, {tower.hidden});
  }
  add(Role::kUp, {tower.hidden, width});
  add(Role::kUpBias, {tower.hidden});
  add(Role::kDown, {width, tower.hidden});
  add(Role::kDownBias, {width});
}

// normed: the number of channels that the norm is over.
void for_each_of_merger(const VisionTower& tower, Section section, int64_t index, int64_t normed,
                        const TensorVisitor& visit) {
  const int64_t merged = tower.merge * tower.merge * tower.width;
  const auto add = [&](Role role, const bridge::Shape& shape) {
    visit({role, section, index}, shape);
  };
  add(Role::kMergerNorm, {normed});
  if (!tower.gated) add(Role::kMergerNormBias, {normed});
  add(Role::kMergerUp, {merged, merged});
  add(Role::kMergerUpBias, {merged});
  add(Role::kMergerDown, {tower.output, merged});
  add(Role::kMergerDownBias, {tower.output});
}

}  // namespace

void for_each_vision_tensor(const VisionTower& tower, const TensorVisitor& visit) {
  const int64_t width = tower.width;
  const auto add = [&](Role role, const bridge::Shape& shape) {
    visit({role, Section::kVision}, shape);
  };
  add(Role::kPatchEmbedding, {width, tower.channels, tower.frames, tower.patch, tower.patch});
  if (!tower.gated) {
    add(Role::kPatchEmbeddingBias, {width});
    add(Role::kPlaces, {tower.places, width});
  }
  for (int64_t block = 0; block < tower.blocks; ++block) for_each_of_block(tower, block, visit);
  for_each_of_merger(tower, Section::kVision, 0, width, visit);
  // Theirs are over the channels of the patches that become one token.
  for (int64_t merger = 0; merger < tower.deepstack; ++merger) {
    for_each_of_merger(tower, Section::kVisionMerger, merger, tower.merge * tower.merge * width,
                       visit);
  }
}

}  // namespace models
