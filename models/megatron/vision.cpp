#include "models/megatron/vision.h"

#include <fmt/format.h>

#include <string>

#include "bridge/io/base/error.h"
#include "models/megatron/gated_tower.h"

namespace models {
namespace {

std::string weight_or_bias(bool bias, std::string_view separator = ".") {
  return fmt::format("{}{}", separator, bias ? "bias" : "weight");
}

// The second name is that of the local specification.
std::vector<MegatronPlace> norm_before(std::string_view linear, std::string_view module,
                                       bool bias) {
  return {{fmt::format("{}.layer_norm{}", linear, weight_or_bias(bias, "_"))},
          {fmt::format("{}{}", module, weight_or_bias(bias))}};
}

std::vector<MegatronPlace> places_of(std::string_view module, bool bias) {
  return {{fmt::format("{}{}", module, weight_or_bias(bias))}};
}

// part: 0 is the query, 1 the key, 2 the value.
std::vector<MegatronPlace> part_of_head(const VisionTower& tower, int64_t part, bool bias) {
  const int64_t dim = tower.width / tower.heads;
  std::vector<MegatronPlace> places = places_of("self_attention.linear_qkv", bias);
  places[0].rows = {tower.width, part * dim, dim, 3 * dim, 3 * tower.width};
  return places;
}

std::vector<MegatronPlace> places_in_layer(const VisionTower& tower, Role role) {
  switch (role) {
    case Role::kAttentionNorm:
    case Role::kAttentionNormBias:
      return norm_before("self_attention.linear_qkv", "input_layernorm",
                         role == Role::kAttentionNormBias);
    case Role::kQ:
    case Role::kQBias:
      return part_of_head(tower, 0, role == Role::kQBias);
    case Role::kK:
    case Role::kKBias:
      return part_of_head(tower, 1, role == Role::kKBias);
    case Role::kV:
    case Role::kVBias:
      return part_of_head(tower, 2, role == Role::kVBias);
    case Role::kO:
    case Role::kOBias:
      return places_of("self_attention.linear_proj", role == Role::kOBias);
    case Role::kMlpNorm:
    case Role::kMlpNormBias:
      return norm_before("mlp.linear_fc1", "pre_mlp_layernorm", role == Role::kMlpNormBias);
    case Role::kUp:
    case Role::kUpBias:
      return places_of("mlp.linear_fc1", role == Role::kUpBias);
    case Role::kDown:
    case Role::kDownBias:
      return places_of("mlp.linear_fc2", role == Role::kDownBias);
    default:
      return {};
  }
}

// merger: the module, with its dot; empty where the key says it already.
std::vector<MegatronPlace> places_in_merger(std::string_view merger, Role role) {
  const auto places = [&](std::string_view module, bool bias) {
    return places_of(fmt::format("{}{}", merger, module), bias);
  };
  switch (role) {
    case Role::kMergerNorm:
    case Role::kMergerNormBias:
      return places("patch_norm", role == Role::kMergerNormBias);
    case Role::kMergerUp:
    case Role::kMergerUpBias:
      return places("linear_fc1", role == Role::kMergerUpBias);
    case Role::kMergerDown:
    case Role::kMergerDownBias:
      return places("linear_fc2", role == Role::kMergerDownBias);
    default:
      return {};
  }
}

std::vector<MegatronPlace> places_in_tower(Role role) {
  switch (role) {
    case Role::kPatchEmbedding:
    case Role::kPatchEmbeddingBias:
      return places_of("patch_embed.proj", role == Role::kPatchEmbeddingBias);
    case Role::kPlaces:
      return places_of("pos_embed", false);
    default:
      return places_in_merger("merger.", role);
  }
}

bool is_of_provider(const Settings& model, std::string_view module) {
  return model.text_or("_target_", "").find(module) != std::string::npos;
}

// Bridge takes transformers' class for the sizes, with its defaults.
VisionTower gated_tower(const Settings& sizes) {
  return {.blocks = sizes.integer_or("depth", 32),
          .width = sizes.integer_or("hidden_size", 3584),
          .heads = sizes.integer_or("num_heads", 16),
          .hidden = sizes.integer_or("intermediate_size", 3420),
          .channels = sizes.integer_or("in_channels", 3),
          .frames = sizes.integer_or("temporal_patch_size", 2),
          .patch = sizes.integer_or("patch_size", 14),
          .merge = sizes.integer_or("spatial_merge_size", 2),
          .output = sizes.integer_or("out_hidden_size", 3584),
          .gated = true};
}

}  // namespace

std::optional<VisionTower> megatron_vision_tower(const Settings& model) {
  const std::optional<Settings> sizes = model.section("vision_config");
  if (!sizes) return std::nullopt;
  if (model.flag_or("use_hf_vision_model", false)) {
    model.not_supported("use_hf_vision_model", "a tower of transformers' modules is not read here");
  }
  if (is_of_provider(model, ".qwen25_vl_provider.")) {
    const VisionTower tower = gated_tower(*sizes);
    bridge::with_context(sizes->where(), [&] { check(tower); });
    return tower;
  }
  constexpr std::string_view kDeepstack = "deepstack_visual_indexes";
  int64_t deepstack = std::ssize(sizes->integers(kDeepstack));
  if (is_of_provider(model, ".qwen3_vl_provider.")) {
    if (!sizes->mentions(kDeepstack)) deepstack = 3;  // the class has so many
  } else if (deepstack > 0) {
    sizes->not_supported(kDeepstack, "a tower with such mergers is not read here");
  }
  const VisionTower tower = {
      .blocks = sizes->integer_or("depth", 27),
      .width = sizes->integer_or("hidden_size", 1152),
      .heads = sizes->integer_or("num_heads", 16),
      .hidden = sizes->integer_or("intermediate_size", 4304),
      .channels = sizes->integer_or("in_channels", 3),
      .frames = sizes->integer_or("temporal_patch_size", 2),
      .patch = sizes->integer_or("patch_size", 16),
      .places = sizes->integer_or("num_position_embeddings", 2304),
      .merge = sizes->integer_or("spatial_merge_size", 2),
      .output = sizes->integer_or("out_hidden_size", 3584),
      .deepstack = deepstack,
  };
  bridge::with_context(sizes->where(), [&] { check(tower); });
  return tower;
}

std::vector<MegatronPlace> megatron_vision_places(const VisionTower& tower, const TensorId& id) {
  std::vector<MegatronPlace> places =
      tower.gated                            ? gated_tower_places(tower, id)
      : id.section == Section::kVisionBlock  ? places_in_layer(tower, id.role)
      : id.section == Section::kVisionMerger ? places_in_merger("", id.role)
                                             : places_in_tower(id.role);
  if (places.empty()) {
    bridge::internal_error(fmt::format("{} has no Megatron key", to_string(id)));
  }
  return places;
}

}  // namespace models
