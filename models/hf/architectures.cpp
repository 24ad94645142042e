#include "models/hf/architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "bridge/io/base/error.h"

namespace models {
namespace {

#define CAUSEWAY_ADDRESS(name) &architectures::name,
constexpr const HfArchitecture* kArchitectures[] = {CAUSEWAY_HF_ARCHITECTURES(CAUSEWAY_ADDRESS)};
#undef CAUSEWAY_ADDRESS

}  // namespace

const HfArchitecture& hf_architecture(const Settings& config) {
  const std::string type = config.text_or("model_type", "");
  for (const HfArchitecture* const architecture : kArchitectures) {
    const auto& types = architecture->model_types;
    if (std::find(types.begin(), types.end(), type) != types.end()) return *architecture;
  }
  config.not_supported("model_type",
                       fmt::format("there is no forward pass for '{}'", bridge::printable(type)));
}

}  // namespace models
