// The fields of every struct of a ModelConfig, by the names that messages and reports use. A new
// field needs an entry here; without it nothing compiles (fields.h).
#pragma once

#include <cstddef>
#include <string_view>
#include <tuple>

#include "models/model/fields.h"
#include "models/model/model_config.h"

namespace models {

// The specializations below hold the lists.
template <typename T>
inline constexpr std::nullptr_t kFields = nullptr;

// The name of an alternative of a variant; empty for other types.
template <typename T>
inline constexpr std::string_view kKind = "";

template <>
inline constexpr auto kFields<NormConfig> = all_fields(field("kind", &NormConfig::kind),
                                                       field("eps", &NormConfig::eps));

template <>
inline constexpr auto kFields<RotaryConfig> = all_fields(
    field("channels", &RotaryConfig::channels), field("layout", &RotaryConfig::layout),
    field("base", &RotaryConfig::base), field("scaling", &RotaryConfig::scaling),
    field("factor", &RotaryConfig::factor),
    field("original_positions", &RotaryConfig::original_positions),
    field("low_freq_factor", &RotaryConfig::low_freq_factor),
    field("high_freq_factor", &RotaryConfig::high_freq_factor),
    field("beta_fast", &RotaryConfig::beta_fast), field("beta_slow", &RotaryConfig::beta_slow),
    field("round_range", &RotaryConfig::round_range), field("magnitude", &RotaryConfig::magnitude));

template <>
inline constexpr std::string_view kKind<GroupedAttention> = "grouped";
template <>
inline constexpr auto kFields<GroupedAttention> = all_fields(
    field("heads", &GroupedAttention::heads), field("kv_heads", &GroupedAttention::kv_heads),
    field("head_dim", &GroupedAttention::head_dim), field("qkv_bias", &GroupedAttention::qkv_bias),
    field("output_bias", &GroupedAttention::output_bias),
    field("qk_norm", &GroupedAttention::qk_norm),
    field("whole_qk_norm", &GroupedAttention::whole_qk_norm),
    field("unit_qk", &GroupedAttention::unit_qk), field("gated", &GroupedAttention::gated),
    field("sinks", &GroupedAttention::sinks), field("window", &GroupedAttention::window),
    field("chunk", &GroupedAttention::chunk), field("sharpening", &GroupedAttention::sharpening),
    field("sharpened_from", &GroupedAttention::sharpened_from),
    field("scale", &GroupedAttention::scale), field("cap", &GroupedAttention::cap),
    field("rotary", &GroupedAttention::rotary));

template <>
inline constexpr auto kFields<TokenIndex> = all_fields(field("heads", &TokenIndex::heads),
                                                       field("dim", &TokenIndex::dim),
                                                       field("chosen", &TokenIndex::chosen),
                                                       field("eps", &TokenIndex::eps),
                                                       field("layout", &TokenIndex::layout),
                                                       field("shared", &TokenIndex::shared));

template <>
inline constexpr std::string_view kKind<LatentAttention> = "latent";
template <>
inline constexpr auto kFields<LatentAttention> = all_fields(
    field("heads", &LatentAttention::heads), field("q_rank", &LatentAttention::q_rank),
    field("kv_rank", &LatentAttention::kv_rank), field("nope_dim", &LatentAttention::nope_dim),
    field("rope_dim", &LatentAttention::rope_dim), field("v_dim", &LatentAttention::v_dim),
    field("latent_eps", &LatentAttention::latent_eps),
    field("softmax_factor", &LatentAttention::softmax_factor),
    field("rotary", &LatentAttention::rotary), field("index", &LatentAttention::index));

template <>
inline constexpr std::string_view kKind<CompressedAttention> = "compressed";
template <>
inline constexpr auto kFields<CompressedAttention> = all_fields(
    field("heads", &CompressedAttention::heads), field("head_dim", &CompressedAttention::head_dim),
    field("rope_dim", &CompressedAttention::rope_dim),
    field("q_rank", &CompressedAttention::q_rank), field("window", &CompressedAttention::window),
    field("output_groups", &CompressedAttention::output_groups),
    field("output_rank", &CompressedAttention::output_rank),
    field("ratio", &CompressedAttention::ratio),
    field("overlapping", &CompressedAttention::overlapping),
    field("index_heads", &CompressedAttention::index_heads),
    field("index_dim", &CompressedAttention::index_dim),
    field("index_chosen", &CompressedAttention::index_chosen),
    field("rotary", &CompressedAttention::rotary));

template <>
inline constexpr std::string_view kKind<DeltaAttention> = "linear";
template <>
inline constexpr auto kFields<DeltaAttention> = all_fields(
    field("key_heads", &DeltaAttention::key_heads),
    field("value_heads", &DeltaAttention::value_heads), field("key_dim", &DeltaAttention::key_dim),
    field("value_dim", &DeltaAttention::value_dim), field("kernel", &DeltaAttention::kernel));

template <>
inline constexpr std::string_view kKind<Mamba2> = "Mamba-2";
template <>
inline constexpr auto kFields<Mamba2> = all_fields(field("heads", &Mamba2::heads),
                                                   field("head_dim", &Mamba2::head_dim),
                                                   field("groups", &Mamba2::groups),
                                                   field("state", &Mamba2::state),
                                                   field("kernel", &Mamba2::kernel),
                                                   field("eps", &Mamba2::eps),
                                                   field("least_step", &Mamba2::least_step));

template <>
inline constexpr std::string_view kKind<NoAttention> = "none";
template <>
inline constexpr auto kFields<NoAttention> = std::tuple<>();

template <>
inline constexpr std::string_view kKind<DenseMlp> = "dense";
template <>
inline constexpr auto kFields<DenseMlp> = all_fields(field("width", &DenseMlp::width),
                                                     field("bias", &DenseMlp::bias),
                                                     field("activation", &DenseMlp::activation),
                                                     field("gated", &DenseMlp::gated));

template <>
inline constexpr auto kFields<RouterConfig> = all_fields(
    field("score", &RouterConfig::score), field("experts", &RouterConfig::experts),
    field("chosen", &RouterConfig::chosen), field("groups", &RouterConfig::groups),
    field("chosen_groups", &RouterConfig::chosen_groups),
    field("ranked_by", &RouterConfig::ranked_by),
    field("selection_bias", &RouterConfig::selection_bias),
    field("logit_bias", &RouterConfig::logit_bias), field("by_token", &RouterConfig::by_token),
    field("normalized", &RouterConfig::normalized), field("factor", &RouterConfig::factor));

template <>
inline constexpr std::string_view kKind<MixtureOfExperts> = "experts";
template <>
inline constexpr auto kFields<MixtureOfExperts> = all_fields(
    field("width", &MixtureOfExperts::width),
    field("shared_width", &MixtureOfExperts::shared_width),
    field("shared_gated", &MixtureOfExperts::shared_gated), field("bias", &MixtureOfExperts::bias),
    field("limit", &MixtureOfExperts::limit), field("gain", &MixtureOfExperts::gain),
    field("offset", &MixtureOfExperts::offset),
    field("weighted_input", &MixtureOfExperts::weighted_input),
    field("activation", &MixtureOfExperts::activation), field("gated", &MixtureOfExperts::gated),
    field("latent", &MixtureOfExperts::latent), field("router", &MixtureOfExperts::router));

template <>
inline constexpr std::string_view kKind<NoMlp> = "none";
template <>
inline constexpr auto kFields<NoMlp> = std::tuple<>();

template <>
inline constexpr auto kFields<HyperConnections> = all_fields(
    field("streams", &HyperConnections::streams), field("steps", &HyperConnections::steps),
    field("eps", &HyperConnections::eps), field("dialect", &HyperConnections::dialect));

template <>
inline constexpr auto kFields<LayerConfig> = all_fields(field("attention", &LayerConfig::attention),
                                                        field("mlp", &LayerConfig::mlp));

template <>
inline constexpr auto kFields<VisionTower> =
    all_fields(field("blocks", &VisionTower::blocks), field("width", &VisionTower::width),
               field("heads", &VisionTower::heads), field("hidden", &VisionTower::hidden),
               field("channels", &VisionTower::channels), field("frames", &VisionTower::frames),
               field("patch", &VisionTower::patch), field("places", &VisionTower::places),
               field("merge", &VisionTower::merge), field("output", &VisionTower::output),
               field("deepstack", &VisionTower::deepstack), field("gated", &VisionTower::gated));

template <>
inline constexpr auto kFields<ModelConfig> =
    all_fields(field("hidden", &ModelConfig::hidden), field("vocab", &ModelConfig::vocab),
               field("labels", &ModelConfig::labels), field("tied", &ModelConfig::tied),
               field("norm", &ModelConfig::norm), field("post_norms", &ModelConfig::post_norms),
               field("embedding_scale", &ModelConfig::embedding_scale),
               field("logit_cap", &ModelConfig::logit_cap), field("hyper", &ModelConfig::hyper),
               field("layers", &ModelConfig::layers), field("mtp", &ModelConfig::mtp),
               field("vision", &ModelConfig::vision));

}  // namespace models
