// Reads the model section of run_config.yaml as Settings.
#include "bridge/io/base/yaml.h"

#include "bridge/io/base/error.h"
#include "models/megatron/config.h"

namespace models {

Settings megatron_settings(std::string_view yaml) {
  Settings::Json values = bridge::with_context(
      "run_config.yaml", [&] { return bridge::read_yaml_section(yaml, "model"); });
  return Settings("run_config.yaml: model", std::move(values));
}

}  // namespace models
