// Fuzzes what a configuration of compressed-tensors says of the modules that it quantizes
// (quantization_config). It is read twice, by the converter and by the forward pass, without code
// in common: where both accept it, every module must be in one group for both.
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/base/json_strict.h"
#include "mappings/binding/quantization_targets.h"
#include "models/hf/compressed_groups.h"
#include "tests/fuzz/fuzz.h"

namespace {

// Names in the input are tried too: an entry of "ignore" is often one.
std::vector<std::string> modules_of(const mappings::Json& quantization) {
  std::vector<std::string> modules = {"lm_head", "model.layers.0.mlp.up_proj",
                                      "model.layers.11.mlp.experts.3.down_proj",
                                      "model.layers.11.self_attn.q_proj"};
  for (const auto& [key, value] : quantization.items()) {
    if (!value.is_array()) continue;
    for (const mappings::Json& entry : value) {
      if (modules.size() < 16 && entry.is_string()) modules.push_back(entry.get<std::string>());
    }
  }
  return modules;
}

}  // namespace

void fuzz_one(std::string_view input) {
  fuzz::accepts([&] {
    const mappings::Json quantization = bridge::parse_json(input);
    if (!quantization.is_object()) return;
    std::optional<mappings::QuantizationTargets> targets;
    const bool of_converter = fuzz::accepts([&] {
      targets.emplace(quantization.value("config_groups", mappings::Json()),
                      quantization.value("ignore", mappings::Json()));
    });
    std::optional<models::CompressedGroups> groups;
    const bool of_pass = fuzz::accepts(
        [&] { groups.emplace(models::Settings("quantization_config", quantization)); });
    if (!of_converter || !of_pass) return;
    for (const std::string& module : modules_of(quantization)) {
      const int32_t converted = targets->of(module).group;
      const std::optional<size_t> computed = groups->find(module).group;
      fuzz::require(computed ? converted == static_cast<int32_t>(*computed)
                             : converted == mappings::QuantizationTargets::kNone);
    }
  });
}
