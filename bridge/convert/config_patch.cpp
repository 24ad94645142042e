#include "bridge/convert/config_patch.h"

#include <nlohmann/json.hpp>

#include "bridge/io/json_strict.h"

namespace bridge {

std::string patch_config(std::string_view text, const ConfigChanges& changes) {
  nlohmann::ordered_json config = parse_json(text);
  const nlohmann::ordered_json before = config;
  if (changes.dtype) {
    const std::string name(torch_name(*changes.dtype));
    const bool new_spelling = config.contains("dtype") || !config.contains("torch_dtype");
    config[new_spelling ? "dtype" : "torch_dtype"] = name;
  }
  if (changes.vocab_size > 0) config["vocab_size"] = changes.vocab_size;
  return config == before ? std::string(text) : config.dump(2) + "\n";
}

}  // namespace bridge
