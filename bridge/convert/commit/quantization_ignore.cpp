#include "bridge/convert/commit/quantization_ignore.h"

#include <fmt/format.h>

#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/json_strict.h"
#include "mappings/binding/quantization_targets.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;
using mappings::QuantizationTargets;

constexpr std::string_view kSection = "quantization_config";

bool is_compressed(const Json& config) {
  if (!config.contains(kSection) || !config[kSection].is_object()) return false;
  const Json& section = config[kSection];
  return section.value("quant_method", Json()) == "compressed-tensors" &&
         section.contains("config_groups");
}

void check_quantized(const ExportPlan& plan, const QuantizationTargets& targets) {
  for (const Transfer& transfer : plan.transfers) {
    if (!transfer.requantize) continue;
    const std::string& name = plan.outputs[static_cast<size_t>(transfer.target)].name;
    const auto match = targets.of(mappings::module_of(name));
    if (match.group != QuantizationTargets::kNone) continue;
    bad_input(
        fmt::format("{}: quantized, but under this name quantization_config leaves it alone: {}",
                    printable(name), match.why),
        "export the whole model, or with --dtype bf16");
  }
}

}  // namespace

std::string ignoring_plain_matrices(std::string config_text, const ExportPlan& plan) {
  if (plan.new_matrices.empty() && !plan.text_form) return config_text;
  Json config = parse_json(config_text, {.non_finite = true});
  if (!is_compressed(config)) return config_text;
  Json& section = config[kSection];
  const QuantizationTargets targets(section["config_groups"], section.value("ignore", Json()));
  if (plan.text_form) check_quantized(plan, targets);
  bool changed = false;
  for (const std::string& name : plan.new_matrices) {
    const std::string module(mappings::module_of(name));
    if (targets.of(module).group == QuantizationTargets::kNone) continue;
    section["ignore"].push_back(module);
    changed = true;
  }
  return changed ? dump_with_non_finite(config) + "\n" : std::move(config_text);
}

}  // namespace bridge
