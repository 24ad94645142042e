// Llama-4's text model: grouped attention that divides turned queries and keys by their root mean
// square, inside chunks; every few layers without positions, whole, whose queries grow with their
// place; in some layers experts that see tokens times their weight, beside one shared expert. The
// experts' matrices are stored [in, out] all in one tensor, gates before the other factor.
// Truth: transformers' configuration_llama4.py, modeling_llama4.py.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/decoder.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"llama4_text"};
constexpr std::string_view kClasses[] = {"Llama4ForCausalLM"};

constexpr HfName kNames[] = {
    {Role::kGate, "feed_forward.gate_proj.weight"},
    {Role::kUp, "feed_forward.up_proj.weight"},
    {Role::kDown, "feed_forward.down_proj.weight"},
    {Role::kRouter, "feed_forward.router.weight"},
    {Role::kSharedGate, "feed_forward.shared_expert.gate_proj.weight"},
    {Role::kSharedUp, "feed_forward.shared_expert.up_proj.weight"},
    {Role::kSharedDown, "feed_forward.shared_expert.down_proj.weight"},
};

// The entry of a list of numbers with one for each layer.
int64_t of_layer(const Settings& config, std::string_view name, int64_t layer) {
  const std::vector<int64_t> all = config.integers(name);
  if (static_cast<size_t>(layer) < all.size()) return all[static_cast<size_t>(layer)];
  config.refuse(name, fmt::format("{} of them, none for layer {}", all.size(), layer));
}

// Whether positions turn queries and keys of this layer. An empty list counts as absent.
bool has_positions(const Settings& config, int64_t layer) {
  if (!config.integers("no_rope_layers").empty()) {
    return of_layer(config, "no_rope_layers", layer) != 0;
  }
  const int64_t every = config.integer_or("no_rope_layer_interval", 4);
  if (every < 1) config.refuse("no_rope_layer_interval", "not positive");
  return (layer + 1) % every != 0;
}

bool is_chunked(const Settings& config, int64_t layer) {
  const std::vector<std::string> types = config.texts("layer_types");
  if (types.empty()) return has_positions(config, layer);
  if (static_cast<size_t>(layer) >= types.size()) {
    config.refuse("layer_types", fmt::format("{} of them, none for layer {}", types.size(), layer));
  }
  const std::string& type = types[static_cast<size_t>(layer)];
  if (type == "chunked_attention" || type == "full_attention") return type == "chunked_attention";
  config.not_supported("layer_types",
                       fmt::format("'{}' is not computed here", bridge::printable(type)));
}

bool has_experts(const Settings& config, int64_t layer) {
  if (config.has("moe_layers")) {
    const std::vector<int64_t> layers = config.integers("moe_layers");
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
  }
  const int64_t every = config.integer_or("interleave_moe_layer_step", 1);
  if (every < 1) config.refuse("interleave_moe_layer_step", "not positive");
  return (layer + 1) % every == 0;
}

GroupedAttention attention_of(const Settings& config, int64_t layer) {
  GroupedAttention attention = hf_grouped_attention(config, {.kv_heads = 8, .head_dim = 128});
  if (is_chunked(config, layer)) {
    const bool no_chunks = config.mentions("attention_chunk_size");  // where it is null
    attention.chunk = config.integer_or("attention_chunk_size", no_chunks ? 0 : 8192);
  }
  if (has_positions(config, layer)) {
    attention.unit_qk = config.flag_or("use_qk_norm", true);
    attention.rotary =
        hf_whole_rotary(config, attention.head_dim, {.base = 500000, .positions = 131072});
    attention.rotary.layout = RotaryLayout::kPairs;
  } else if (config.flag_or("attn_temperature_tuning", true)) {
    attention.sharpening = config.real_or("attn_scale", 0.1);
    attention.sharpened_from = config.integer_or("floor_scale", 8192);
  }
  return attention;
}

LayerConfig layer_of(const Settings& config, int64_t layer) {
  if (!has_experts(config, layer)) {
    return {attention_of(config, layer),
            DenseMlp{config.integer_or("intermediate_size_mlp", 16384), false}};
  }
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSigmoid;
  mlp.router.experts = hf_expert_count(config, "num_local_experts", 16);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 1);
  mlp.width = mlp.shared_width = config.integer("intermediate_size");
  mlp.weighted_input = true;
  return {attention_of(config, layer), mlp};
}

ModelConfig config_of(const Settings& config, bool /*drop_mtp*/) {
  return hf_decoder_config(config, 1e-5, layer_of);
}

std::vector<HfPlace> places_of(const HfModel& model, const TensorId& id) {
  if (id.expert < 0) return hf_decoder_places(model, id, kNames);
  const std::string experts =
      fmt::format("{}layers.{}.feed_forward.experts.", model.prefix, id.index);
  HfPlace place{.name = experts + "down_proj", .expert_axis = true, .transposed = true};
  if (id.role == Role::kExpertDown) return {place};
  place.name = experts + "gate_up_proj";
  place.rows =
      gate_or_up(std::get<MixtureOfExperts>(model.layer(id).mlp).width, id.role == Role::kExpertUp);
  return {place};
}

}  // namespace

constexpr HfArchitecture architectures::kLlama4 = {
    .model_types = kModelTypes, .classes = kClasses, .config = config_of, .places = places_of};

}  // namespace models
