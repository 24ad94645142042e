#include "models/model/vision_tensors.h"

namespace models {
namespace {

void for_each_of_block(const VisionTower& tower, int64_t block, const TensorVisitor& visit) {
  const int64_t width = tower.width;
  const auto add = [&](Role role, const bridge::Shape& shape) {
    visit({role, Section::kVisionBlock, block}, shape);
  };
  add(Role::kAttentionNorm, {width});
  add(Role::kAttentionNormBias, {width});
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) add(role, {width, width});
  for (const Role role : {Role::kQBias, Role::kKBias, Role::kVBias, Role::kOBias}) {
    add(role, {width});
  }
  add(Role::kMlpNorm, {width});
  add(Role::kMlpNormBias, {width});
  add(Role::kUp, {tower.hidden, width});
  add(Role::kUpBias, {tower.hidden});
  add(Role::kDown, {width, tower.hidden});
  add(Role::kDownBias, {width});
}

}  // namespace

void for_each_vision_tensor(const VisionTower& tower, const TensorVisitor& visit) {
  const int64_t width = tower.width;
  const int64_t merged = tower.merge * tower.merge * width;
  const auto add = [&](Role role, const bridge::Shape& shape) {
    visit({role, Section::kVision}, shape);
  };
  add(Role::kPatchEmbedding, {width, tower.channels, tower.frames, tower.patch, tower.patch});
  add(Role::kPatchEmbeddingBias, {width});
  add(Role::kPlaces, {tower.places, width});
  for (int64_t block = 0; block < tower.blocks; ++block) for_each_of_block(tower, block, visit);
  add(Role::kMergerNorm, {width});
  add(Role::kMergerNormBias, {width});
  add(Role::kMergerUp, {merged, merged});
  add(Role::kMergerUpBias, {merged});
  add(Role::kMergerDown, {tower.output, merged});
  add(Role::kMergerDownBias, {tower.output});
}

}  // namespace models
