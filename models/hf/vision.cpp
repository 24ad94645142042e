#include "models/hf/vision.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr HfName kTower[] = {
    {Role::kPatchEmbedding, "patch_embed.proj.weight"},
    {Role::kPatchEmbeddingBias, "patch_embed.proj.bias"},
    {Role::kPlaces, "pos_embed.weight"},
    {Role::kMergerNorm, "merger.norm.weight"},
    {Role::kMergerNormBias, "merger.norm.bias"},
    {Role::kMergerUp, "merger.linear_fc1.weight"},
    {Role::kMergerUpBias, "merger.linear_fc1.bias"},
    {Role::kMergerDown, "merger.linear_fc2.weight"},
    {Role::kMergerDownBias, "merger.linear_fc2.bias"},
};

constexpr HfName kBlock[] = {
    {Role::kAttentionNorm, "norm1.weight"}, {Role::kAttentionNormBias, "norm1.bias"},
    {Role::kO, "attn.proj.weight"},         {Role::kOBias, "attn.proj.bias"},
    {Role::kMlpNorm, "norm2.weight"},       {Role::kMlpNormBias, "norm2.bias"},
    {Role::kUp, "mlp.linear_fc1.weight"},   {Role::kUpBias, "mlp.linear_fc1.bias"},
    {Role::kDown, "mlp.linear_fc2.weight"}, {Role::kDownBias, "mlp.linear_fc2.bias"},
    {Role::kQ, "attn.qkv.weight"},          {Role::kQBias, "attn.qkv.bias"},
    {Role::kK, "attn.qkv.weight"},          {Role::kKBias, "attn.qkv.bias"},
    {Role::kV, "attn.qkv.weight"},          {Role::kVBias, "attn.qkv.bias"},
};

// Of Qwen2.5-VL's kind.
constexpr HfName kGatedTower[] = {
    {Role::kPatchEmbedding, "patch_embed.proj.weight"},
    {Role::kMergerNorm, "merger.ln_q.weight"},
    {Role::kMergerUp, "merger.mlp.0.weight"},
    {Role::kMergerUpBias, "merger.mlp.0.bias"},
    {Role::kMergerDown, "merger.mlp.2.weight"},
    {Role::kMergerDownBias, "merger.mlp.2.bias"},
};

constexpr HfName kGatedMlp[] = {
    {Role::kGate, "mlp.gate_proj.weight"}, {Role::kGateBias, "mlp.gate_proj.bias"},
    {Role::kUp, "mlp.up_proj.weight"},     {Role::kUpBias, "mlp.up_proj.bias"},
    {Role::kDown, "mlp.down_proj.weight"}, {Role::kDownBias, "mlp.down_proj.bias"},
};

// The further mergers.
constexpr HfName kMerger[] = {
    {Role::kMergerNorm, "norm.weight"},       {Role::kMergerNormBias, "norm.bias"},
    {Role::kMergerUp, "linear_fc1.weight"},   {Role::kMergerUpBias, "linear_fc1.bias"},
    {Role::kMergerDown, "linear_fc2.weight"}, {Role::kMergerDownBias, "linear_fc2.bias"},
};

// The tensors of a bare model have no "model." in front.
constexpr std::string_view kPrefixes[] = {"model.visual.", "visual."};

// The part of attn.qkv: 0 for queries, 1 for keys, 2 for values; -1 for tensors that are stored
// alone.
int64_t part_of_qkv(Role role) {
  switch (role) {
    case Role::kQ:
    case Role::kQBias:
      return 0;
    case Role::kK:
    case Role::kKBias:
      return 1;
    case Role::kV:
    case Role::kVBias:
      return 2;
    default:
      return -1;
  }
}

// The name below the tower's prefix; empty if the tower has no such tensor.
std::string name_in_tower(const VisionTower& tower, const TensorId& id) {
  if (id.section == Section::kVision) {
    return std::string(tower.gated ? hf_name(kGatedTower, id.role) : hf_name(kTower, id.role));
  }
  const bool in_block = id.section == Section::kVisionBlock;
  std::string_view name = in_block ? std::string_view() : hf_name(kMerger, id.role);
  if (in_block && tower.gated) name = hf_name(kGatedMlp, id.role);
  if (in_block && name.empty()) name = hf_name(kBlock, id.role);
  if (name.empty()) return {};
  return fmt::format("{}.{}.{}", in_block ? "blocks" : "deepstack_merger_list", id.index, name);
}

}  // namespace

std::optional<VisionTower> hf_gated_vision_tower(const Settings& config) {
  const std::optional<Settings> vision = config.section("vision_config");
  if (!vision) return std::nullopt;
  VisionTower tower;
  tower.gated = true;
  tower.blocks = vision->integer_or("depth", 32);
  tower.width = vision->integer_or("hidden_size", 3584);
  tower.heads = vision->integer_or("num_heads", 16);
  tower.hidden = vision->integer_or("intermediate_size", 3420);
  tower.channels = vision->integer_or("in_channels", 3);
  tower.frames = vision->integer_or("temporal_patch_size", 2);
  tower.patch = vision->integer_or("patch_size", 14);
  tower.merge = vision->integer_or("spatial_merge_size", 2);
  tower.output = vision->integer_or("out_hidden_size", 3584);
  bridge::with_context(vision->where(), [&] { check(tower); });
  return tower;
}

std::optional<VisionTower> hf_deepstack_vision_tower(const Settings& config) {
  constexpr std::string_view kIndexes = "deepstack_visual_indexes";
  std::optional<VisionTower> tower = hf_vision_tower(config);
  if (!tower) return std::nullopt;
  const Settings vision = config.section("vision_config").value();
  tower->deepstack = vision.mentions(kIndexes) ? std::ssize(vision.integers(kIndexes)) : 3;
  bridge::with_context(vision.where(), [&] { check(*tower); });
  return tower;
}

std::optional<VisionTower> hf_vision_tower(const Settings& config) {
  const std::optional<Settings> vision = config.section("vision_config");
  if (!vision) return std::nullopt;
  VisionTower tower;
  tower.blocks = vision->integer_or("depth", 27);
  tower.width = vision->integer_or("hidden_size", 1152);
  tower.heads = vision->integer_or("num_heads", 16);
  tower.hidden = vision->integer_or("intermediate_size", 4304);
  tower.channels = vision->integer_or("in_channels", 3);
  tower.frames = vision->integer_or("temporal_patch_size", 2);
  tower.patch = vision->integer_or("patch_size", 16);
  tower.places = vision->integer_or("num_position_embeddings", 2304);
  tower.merge = vision->integer_or("spatial_merge_size", 2);
  tower.output = vision->integer_or("out_hidden_size", 3584);
  bridge::with_context(vision->where(), [&] { check(tower); });
  return tower;
}

bool is_hf_vision_name(std::string_view name) {
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

std::vector<HfPlace> hf_vision_places(const VisionTower& tower, const TensorId& id) {
  const std::string inner = name_in_tower(tower, id);
  if (inner.empty()) no_hf_name(id);
  RowPattern rows;
  if (const int64_t part = part_of_qkv(id.role); part >= 0) {
    rows = {tower.width, part * tower.width, tower.width, tower.width, 3 * tower.width};
  }
  std::vector<HfPlace> places;
  for (const std::string_view prefix : kPrefixes) {
    places.push_back({std::string(prefix) + inner, false, rows});
  }
  return places;
}

}  // namespace models
