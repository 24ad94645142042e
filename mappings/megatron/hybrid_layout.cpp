#include "mappings/megatron/hybrid_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

constexpr const char* kPattern = "hybrid_layer_pattern";
constexpr const char* kOlderPattern = "hybrid_override_pattern";
constexpr const char* kDepthPattern = "mtp_hybrid_override_pattern";
constexpr size_t kLongestPattern = 100'000;
constexpr const char* kProvider =
    "megatron.bridge.models.hybrid.hybrid_provider.HybridModelProvider";

// Fields of GPTModelProvider that HybridModelProvider does not have.
const std::array<std::string, 3> kOfGptAlone = {"transformer_layer_spec", "rope_scaling",
                                                "rope_scaling_factor"};

Json field(const Json& fields, const char* name) {
  const Json::const_iterator it = fields.find(name);
  return it == fields.end() ? Json() : *it;
}

// The specification of layers that are modules of Megatron-Bridge's own; empty: Megatron-Core's
// are.
std::string own_layers(const Json& gpt) {
  constexpr std::string_view kBridge = "megatron.bridge.models.";
  const Json spec = field(gpt, "transformer_layer_spec");
  const std::string target = spec.is_object() ? spec.value("_target_", "") : "";
  const bool own =
      target.starts_with(kBridge) && !target.substr(kBridge.size()).starts_with("gpt_provider.");
  return own ? target : "";
}

// What a model has that the layout does not cover; empty: nothing.
std::string uncovered(const Json& gpt) {
  const Json variant = field(gpt, "experimental_attention_variant");
  if (variant == "gdn" || variant == "gated_delta_net") return "Gated DeltaNet (GDN)";
  if (variant == "dsa") return "DeepSeek sparse attention (DSA)";
  if (variant == "dsv4_hybrid") return "the attention of DeepSeek-V4";
  if (!variant.is_null()) return fmt::format("experimental_attention_variant {}", variant.dump());
  if (field(gpt, "multi_latent_attention") == true) return "multi-head latent attention (MLA)";
  if (!field(gpt, "vision_config").is_null()) return "a vision tower";
  const std::string layers = own_layers(gpt);
  if (!layers.empty()) return fmt::format("the layers of {}", layers);
  // HybridModel's rotary embedding is not told of it.
  if (field(gpt, "rope_scaling") == true) return "rope_scaling, which HybridModel does not have";
  // A layer's number in it is that of a GPTModel's layer.
  if (!field(gpt, "window_attn_skip_freq").is_null()) return "a window in some layers only";
  return {};
}

bool has_experts(const Json& gpt, int64_t layer) {
  if (field(gpt, "num_moe_experts").is_null()) return false;
  const Json freq = field(gpt, "moe_layer_freq");
  if (freq.is_array()) {
    const auto at = static_cast<size_t>(layer);
    return at < freq.size() && freq[at] != 0;
  }
  const int64_t every = freq.is_number_integer() ? freq.get<int64_t>() : 1;
  return every > 0 && layer % every == 0;
}

int64_t layers_of(const Json& gpt) {
  const Json layers = field(gpt, "num_layers");
  if (!layers.is_number_integer()) {
    bridge::bad_input("megatron_config of the table lacks num_layers");
  }
  return layers.get<int64_t>();
}

std::string pattern_of(const Json& gpt) {
  std::string pattern;
  const int64_t layers = layers_of(gpt);
  for (int64_t layer = 0; layer < layers; ++layer) pattern += has_experts(gpt, layer) ? "*E" : "*-";
  return pattern;
}

std::string_view meaning_of(char symbol) {
  switch (symbol) {
    case 'G':
      return "Gated DeltaNet";
    case 'D':
      return "DeepSeek sparse attention";
    case '+':
      return "multi-head latent attention";
    case '/':
      return "multi-token prediction";
    default:
      return "not in the place that it has in pairs";
  }
}

// pattern: without the marks of pipeline stages, and with Mamba-2 in it.
void state_mamba(Json& fields, std::string_view pattern) {
  const size_t bad = pattern.find_first_not_of("M*-E/");
  if (bad != std::string_view::npos) {
    bridge::unsupported(
        fmt::format("{} '{}': '{}' at {} ({}): beside Mamba-2 (M), attention (*), MLPs (-) and "
                    "experts (E) are read",
                    kPattern, bridge::printable(pattern), bridge::printable(pattern.substr(bad, 1)),
                    bad, meaning_of(pattern[bad])),
        "export it where it was trained");
  }
  const std::string_view layers = pattern.substr(0, pattern.find('/'));
  fields[kPattern] = layers;
  fields["num_layers"] = std::ssize(layers);
  Json& sparse = fields["moe_layer_freq"] = Json::array();
  for (const char symbol : layers) sparse.push_back(symbol == '-' ? 0 : 1);
  if (layers.size() < pattern.size()) {
    const std::string_view depths = pattern.substr(layers.size() + 1);
    fields[kDepthPattern] = depths.substr(0, depths.find('/'));
    // A repeated layer is there once.
    fields["mtp_num_layers"] = field(fields, "mtp_use_repeated_layer") == true
                                   ? 1
                                   : std::count(pattern.begin(), pattern.end(), '/');
  }
  const Json depth = field(fields, kDepthPattern);
  const bool has_experts =
      layers.find('E') != std::string_view::npos ||
      (depth.is_string() && depth.get<std::string>().find('E') != std::string::npos);
  if (!has_experts) fields["num_moe_experts"] = nullptr;
}

// pattern: without the marks of pipeline stages.
Json experts_of(std::string_view pattern) {
  Json experts = Json::array();
  for (size_t i = 0; i < pattern.size(); ++i) {
    const bool fits = i % 2 == 0 ? pattern[i] == '*' && i + 1 < pattern.size()
                                 : pattern[i] == '-' || pattern[i] == 'E';
    if (!fits) {
      bridge::unsupported(
          fmt::format(
              "{} '{}': '{}' at {} ({}): only pairs of '*' (attention) and '-' or 'E' (MLP) "
              "are the layers of a GPTModel",
              kPattern, bridge::printable(pattern), bridge::printable(pattern.substr(i, 1)), i,
              meaning_of(pattern[i])),
          "train such a model as a GPTModel, or export it where it was trained");
    }
    if (i % 2 == 1) experts.push_back(pattern[i] == 'E' ? 1 : 0);
  }
  return experts;
}

}  // namespace

Json hybrid_provider(const Json& gpt) {
  if (!field(gpt, kPattern).is_null()) {
    bridge::unsupported("--layout hybrid: this model is a HybridModel already",
                        "leave the option out: its keys are those of a HybridModel");
  }
  const std::string what = uncovered(gpt);
  if (!what.empty()) {
    bridge::unsupported(fmt::format("--layout hybrid does not cover {}", what),
                        "leave the option out: GPTModel's layout has it");
  }
  const Json depths = field(gpt, "mtp_num_layers");
  if (depths.is_number() && depths > 0) {
    bridge::unsupported("--layout hybrid does not cover multi-token prediction (MTP)",
                        "--mtp drop leaves it out; GPTModel's layout has it");
  }
  Json hybrid = gpt;
  for (const std::string& name : kOfGptAlone) hybrid.erase(name);
  hybrid["_target_"] = kProvider;
  hybrid[kPattern] = pattern_of(gpt);
  hybrid["num_layers"] = 2 * layers_of(gpt);
  // The pattern says which; a list would have an entry for each of GPTModel's layers.
  if (hybrid.contains("moe_layer_freq")) hybrid["moe_layer_freq"] = 1;
  return hybrid;
}

void state_as_gpt(Json& fields) {
  Json pattern = field(fields, kPattern);
  if (!pattern.is_string()) pattern = field(fields, kOlderPattern);
  if (!pattern.is_string()) return;
  std::string layers = pattern.get<std::string>();
  std::erase(layers, '|');  // the ends of pipeline stages
  if (layers.size() > kLongestPattern) {
    bridge::bad_input(fmt::format("{} of {} layers", kPattern, layers.size()));
  }
  fields["rope_scaling"] = false;  // whatever an argument says: HybridModel does not scale
  if (layers.find('M') != std::string::npos) return state_mamba(fields, layers);
  const Json experts = experts_of(layers);
  fields["num_layers"] = static_cast<int64_t>(experts.size());
  fields["moe_layer_freq"] = experts;
  if (layers.find('E') == std::string::npos) fields["num_moe_experts"] = nullptr;
}

}  // namespace mappings
