#include "bridge/convert/match/fp8_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {

void refuse_fp8_with_one_scale(const HfFolder& folder, const mappings::Binding& binding) {
  constexpr std::string_view kScale = ".weight_scale";
  const auto& schemes = binding.block_schemes();
  if (std::any_of(schemes.begin(), schemes.end(), [&](const mappings::BlockScheme& scheme) {
        return scheme.quantization->scale == kScale;
      })) {
    return;
  }
  for (const HfTensor& tensor : folder.tensors) {
    if (!tensor.name.ends_with(kScale)) continue;
    const HfTensor* weight =
        folder.find(tensor.name.substr(0, tensor.name.size() - kScale.size()) + ".weight");
    if (weight == nullptr || weight->dtype != Dtype::kF8E4M3 || element_count(tensor.shape) != 1) {
      continue;
    }
    const bool modelopt = folder.has_file("hf_quant_config.json");
    unsupported(
        fmt::format("{}: {}{}: FP8 with one scale a tensor, which config.json does not say",
                    printable(folder.path.string()), printable(tensor.name),
                    modelopt ? " of ModelOpt (hf_quant_config.json)" : ""),
        modelopt ? "convert the BF16 release of the model, or write \"quantization_config\": "
                   "{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"} into its config.json"
                 : "convert the BF16 release of the model, or an FP8 release whose config.json has "
                   "a quantization_config");
  }
}

}  // namespace bridge
