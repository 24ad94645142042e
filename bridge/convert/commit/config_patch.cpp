#include "bridge/convert/commit/config_patch.h"

#include <nlohmann/json.hpp>

#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/json_strict.h"

namespace bridge {

std::string patch_config(std::string_view text, const ConfigChanges& changes) {
  nlohmann::ordered_json config = parse_json(text, {.non_finite = true});
  const std::string before = dump_with_non_finite(config);  // NaN equals nothing, its text does
  if (changes.dtype) {
    const bool new_spelling = config.contains("dtype") || !config.contains("torch_dtype");
    config[new_spelling ? "dtype" : "torch_dtype"] = torch_name(*changes.dtype);
  }
  nlohmann::ordered_json& root = changes.root.empty() ? config : config[changes.root];
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (changes.dtype && root.contains(key)) root[key] = torch_name(*changes.dtype);
  }
  if (changes.vocab_size > 0) root["vocab_size"] = changes.vocab_size;
  if (changes.unquantized) {
    config.erase("quantization_config");
    config.erase(
        "expert_dtype");  // DeepSeek-V4's experts are quantized in another way than the rest
  }
  if (!changes.no_mtp.empty() && root.contains(changes.no_mtp)) root[changes.no_mtp] = 0;
  const std::string after = dump_with_non_finite(config);
  return after == before ? std::string(text) : after + "\n";
}

}  // namespace bridge
