#include "models/megatron/gated_tower.h"

#include <string>

namespace models {
namespace {

std::string key_of(Role role) {
  switch (role) {
    case Role::kPatchEmbedding:
      return "patch_embed.proj.weight";
    case Role::kAttentionNorm:
      return "norm1.weight";
    case Role::kQ:
    case Role::kK:
    case Role::kV:
      return "attn.qkv.weight";
    case Role::kQBias:
    case Role::kKBias:
    case Role::kVBias:
      return "attn.qkv.bias";
    case Role::kO:
      return "attn.proj.weight";
    case Role::kOBias:
      return "attn.proj.bias";
    case Role::kMlpNorm:
      return "norm2.weight";
    case Role::kGate:
      return "mlp.gate_proj.weight";
    case Role::kGateBias:
      return "mlp.gate_proj.bias";
    case Role::kUp:
      return "mlp.up_proj.weight";
    case Role::kUpBias:
      return "mlp.up_proj.bias";
    case Role::kDown:
      return "mlp.down_proj.weight";
    case Role::kDownBias:
      return "mlp.down_proj.bias";
    case Role::kMergerNorm:
      return "merger.ln_q.weight";
    case Role::kMergerUp:
      return "merger.mlp.0.weight";
    case Role::kMergerUpBias:
      return "merger.mlp.0.bias";
    case Role::kMergerDown:
      return "merger.mlp.2.weight";
    case Role::kMergerDownBias:
      return "merger.mlp.2.bias";
    default:
      return {};
  }
}

// The first row of a part of attn.qkv; -1 for tensors that are stored alone.
int64_t first_row(const VisionTower& tower, Role role) {
  switch (role) {
    case Role::kQ:
    case Role::kQBias:
      return 0;
    case Role::kK:
    case Role::kKBias:
      return tower.width;
    case Role::kV:
    case Role::kVBias:
      return 2 * tower.width;
    default:
      return -1;
  }
}

}  // namespace

std::vector<MegatronPlace> gated_tower_places(const VisionTower& tower, const TensorId& id) {
  MegatronPlace place = {key_of(id.role)};
  if (place.inner.empty()) return {};
  if (const int64_t first = first_row(tower, id.role); first >= 0) {
    place.rows = {tower.width, first, tower.width, tower.width, 3 * tower.width};
  }
  return {place};
}

}  // namespace models
