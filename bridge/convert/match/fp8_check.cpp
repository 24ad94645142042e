#include "bridge/convert/match/fp8_check.h"

#include <fmt/format.h>

#include <string>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  unsupported(what + ": FP8 with one scale a tensor is not supported (one for each block is)",
              "convert the BF16 release of the model, or an FP8 release with weight_block_size");
}

}  // namespace

void refuse_fp8_with_one_scale(const mappings::Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return;
  if (quantization->value("quant_algo", mappings::Json()) == "FP8") {
    refuse("quantization_config: quant_algo 'FP8' of ModelOpt");
  }
}

void refuse_fp8_with_one_scale(const HfFolder& folder) {
  constexpr std::string_view kScale = ".weight_scale";
  for (const HfTensor& tensor : folder.tensors) {
    if (!tensor.name.ends_with(kScale)) continue;
    const HfTensor* weight =
        folder.find(tensor.name.substr(0, tensor.name.size() - kScale.size()) + ".weight");
    if (weight != nullptr && weight->dtype == Dtype::kF8E4M3 && element_count(tensor.shape) == 1) {
      const bool modelopt = folder.has_file("hf_quant_config.json");
      refuse(fmt::format("{}: {}{}", printable(folder.path.string()), printable(tensor.name),
                         modelopt ? " of ModelOpt (hf_quant_config.json)" : ""));
    }
  }
}

}  // namespace bridge
