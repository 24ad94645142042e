#include "models/hf/nemotron_h_names.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <variant>

#include "models/hf/names.h"

namespace models {
namespace {

constexpr HfName kBlock[] = {
    {Role::kAttentionNorm, "norm.weight"},
    {Role::kMlpNorm, "norm.weight"},
    {Role::kStepBias, "mixer.dt_bias"},
    {Role::kDecay, "mixer.A_log"},
    {Role::kSkip, "mixer.D"},
    {Role::kScanNorm, "mixer.norm.weight"},
    {Role::kQ, "mixer.q_proj.weight"},
    {Role::kK, "mixer.k_proj.weight"},
    {Role::kV, "mixer.v_proj.weight"},
    {Role::kUp, "mixer.up_proj.weight"},
    {Role::kDown, "mixer.down_proj.weight"},
    {Role::kRouter, "mixer.gate.weight"},
    {Role::kRouterBias, "mixer.gate.e_score_correction_bias"},
    {Role::kLatentDown, "mixer.fc1_latent_proj.weight"},
    {Role::kLatentUp, "mixer.fc2_latent_proj.weight"},
    {Role::kSharedUp, "mixer.shared_experts.up_proj.weight"},
    {Role::kSharedDown, "mixer.shared_experts.down_proj.weight"},
};

constexpr HfName kFrame[] = {
    {Role::kMtpEmbeddingNorm, "enorm.weight"},
    {Role::kMtpHiddenNorm, "hnorm.weight"},
    {Role::kMtpProjection, "eh_proj.weight"},
    {Role::kMtpFinalNorm, "final_layernorm.weight"},
};

constexpr HfName kExpert[] = {
    {Role::kExpertUp, "up_proj"},
    {Role::kExpertDown, "down_proj"},
};

bool is_of_mlp(Role role) {
  switch (role) {
    case Role::kMlpNorm:
    case Role::kUp:
    case Role::kDown:
    case Role::kRouter:
    case Role::kRouterBias:
    case Role::kLatentDown:
    case Role::kLatentUp:
    case Role::kExpertUp:
    case Role::kExpertDown:
    case Role::kSharedUp:
    case Role::kSharedDown:
      return true;
    default:
      return false;
  }
}

// The block below "mtp.layers." that has a tensor of a depth. All depths have the same blocks.
int64_t block_of_depth(const HfModel& model, const TensorId& id) {
  const LayerConfig& layer = model.layer(id);
  const bool has_both = layer.has_attention() && layer.has_mlp();
  const bool in_last = id.role == Role::kMtpFinalNorm || is_of_mlp(id.role);
  return has_both ? 2 * id.index + (in_last ? 1 : 0) : id.index;
}

// What the names of the block begin with.
std::string block_of(const HfModel& model, const TensorId& id) {
  return id.section == Section::kMtp ? fmt::format("mtp.layers.{}.", block_of_depth(model, id))
                                     : fmt::format("{}layers.{}.", model.prefix, id.index);
}

RowPattern run_of(int64_t first, int64_t count, int64_t total) {
  return {count, first, count, count, total};
}

// Rows of in_proj, channels of conv1d; nothing for roles that lie in neither.
std::vector<HfPlace> places_of_mamba(const Mamba2& mixer, Role role, const std::string& block) {
  const int64_t inner = mixer.heads * mixer.head_dim;
  const int64_t states = mixer.groups * mixer.state;
  const auto projection = [&](int64_t first, int64_t count) {
    const int64_t total = 2 * inner + 2 * states + mixer.heads;
    return std::vector<HfPlace>{
        {block + "mixer.in_proj.weight", false, run_of(first, count, total)}};
  };
  const auto convolution = [&](std::string_view kind, int64_t first, int64_t count) {
    return std::vector<HfPlace>{{fmt::format("{}mixer.conv1d.{}", block, kind), false,
                                 run_of(first, count, inner + 2 * states)}};
  };
  switch (role) {
    case Role::kZ:
      return projection(0, inner);
    case Role::kScanX:
      return projection(inner, inner);
    case Role::kScanB:
      return projection(2 * inner, states);
    case Role::kScanC:
      return projection(2 * inner + states, states);
    case Role::kStep:
      return projection(2 * inner + 2 * states, mixer.heads);
    case Role::kScanXConv:
      return convolution("weight", 0, inner);
    case Role::kScanBConv:
      return convolution("weight", inner, states);
    case Role::kScanCConv:
      return convolution("weight", inner + states, states);
    case Role::kScanXConvBias:
      return convolution("bias", 0, inner);
    case Role::kScanBConvBias:
      return convolution("bias", inner, states);
    case Role::kScanCConvBias:
      return convolution("bias", inner + states, states);
    default:
      return {};
  }
}

}  // namespace

std::vector<HfPlace> nemotron_h_places(const HfModel& model, const TensorId& id) {
  if (id.role == Role::kEmbedding) return {{model.prefix + "embeddings.weight"}};
  if (id.role == Role::kFinalNorm) return {{model.prefix + "norm_f.weight"}};
  if (id.role == Role::kOutput) return {{"lm_head.weight"}};
  const std::string block = block_of(model, id);
  if (const std::string_view name = hf_name(kFrame, id.role); !name.empty()) {
    return {{block + std::string(name)}};
  }
  const auto* const mamba = std::get_if<Mamba2>(&model.layer(id).attention);
  if (id.role == Role::kO) {
    return {{block + (mamba != nullptr ? "mixer.out_proj.weight" : "mixer.o_proj.weight")}};
  }
  if (const std::string_view name = hf_name(kBlock, id.role); !name.empty()) {
    return {{block + std::string(name)}};
  }
  if (const std::string_view name = hf_name(kExpert, id.role); !name.empty()) {
    return {{fmt::format("{}mixer.experts.{}.{}.weight", block, id.expert, name)},
            {fmt::format("{}mixer.experts.{}", block, name), /*expert_axis=*/true}};
  }
  std::vector<HfPlace> places;
  if (mamba != nullptr) places = places_of_mamba(*mamba, id.role, block);
  if (places.empty()) no_hf_name(id);
  return places;
}

}  // namespace models
