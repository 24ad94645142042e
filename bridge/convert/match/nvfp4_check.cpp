#include "bridge/convert/match/nvfp4_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  unsupported(what + ": NVFP4 is not supported",
              "convert the BF16 or FP8 release of the model, or what the tool that quantized it "
              "dequantizes to");
}

bool says_nvfp4(const mappings::Json& value) {
  if (!value.is_string()) return false;
  std::string text = value.get<std::string>();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text.find("nvfp4") != std::string::npos;
}

// Looks into nested objects too, because the algorithm may differ by group of layers.
void look_into(const mappings::Json& quantization) {
  for (const auto& [key, value] : quantization.items()) {
    if (value.is_structured()) look_into(value);
    if ((key == "quant_algo" || key == "format" || key == "quant_method") && says_nvfp4(value)) {
      refuse(fmt::format("quantization_config: {} '{}'", key, printable(value.get<std::string>())));
    }
  }
}

}  // namespace

void refuse_nvfp4(const mappings::Json& config) {
  for (const auto& [key, value] : config.items()) {
    if (key == "quantization_config" && value.is_structured()) {
      look_into(value);
    } else if (value.is_object() && value.contains("quantization_config")) {
      refuse_nvfp4(value);
    }
  }
}

void refuse_nvfp4(const HfFolder& folder) {
  for (const HfTensor& tensor : folder.tensors) {
    if (tensor.name.ends_with(".weight_global_scale") || tensor.name.ends_with(".weight_scale_2")) {
      refuse(fmt::format("{}: {}", printable(folder.path.string()), printable(tensor.name)));
    }
  }
}

}  // namespace bridge
