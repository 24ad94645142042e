#include "bridge/convert/match/quantization_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/convert/match/source_match.h"

namespace bridge {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kRouter = ".router.";
constexpr std::string_view kOutputLayer = "output_layer.weight";

// True if the weight is certainly one of a linear module that every library has under this name.
bool is_linear(const mappings::Binding& binding, const mappings::Row& row,
               const mappings::HfTensorSpec& weight) {
  if (!binding.table().config_root.empty() || !row.part.empty()) return false;
  if (weight.shape.size() != 2 || !weight.name.ends_with(kWeight)) return false;
  const mappings::Family* family = binding.table().find_family(row.family);
  if (family != nullptr && family->mtp) return false;
  if (row.op->is_vocabulary) return row.megatron == kOutputLayer;
  return may_be_quantized(row) && row.megatron.find(kRouter) == std::string::npos;
}

}  // namespace

std::string contradiction(const mappings::Binding& binding, const mappings::Row& row,
                          const mappings::HfTensorSpec& weight, const HfTensor& stored) {
  const mappings::QuantizationTargets* targets = binding.quantization_targets();
  if (targets == nullptr || !is_linear(binding, row, weight)) return {};
  const auto match = targets->of(mappings::module_of(weight.name));
  const auto& schemes = binding.block_schemes();
  const auto planned =
      std::find_if(schemes.begin(), schemes.end(), [&](const mappings::BlockScheme& scheme) {
        return scheme.group != mappings::QuantizationTargets::kNone && scheme.group == match.group;
      });
  const bool is_plain = is_plain_float(stored.dtype);
  const std::string_view there = safetensors_name(stored.dtype);
  if (planned == schemes.end()) {
    if (is_plain) return {};
    return fmt::format("{}, but quantization_config leaves it alone: {}", there, match.why);
  }
  const Dtype dtype = planned->quantization->stored;
  if (stored.dtype == dtype) return {};
  return is_plain ? fmt::format("{}, but quantization_config quantizes it: {}", there, match.why)
                  : fmt::format("{}, but quantization_config says {}: {}", there,
                                safetensors_name(dtype), match.why);
}

}  // namespace bridge
