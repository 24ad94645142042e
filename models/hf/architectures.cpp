#include "models/hf/architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "bridge/io/base/error.h"

namespace models {
namespace {

#define CAUSEWAY_ADDRESS(name) &architectures::name,
constexpr const HfArchitecture* kArchitectures[] = {CAUSEWAY_HF_ARCHITECTURES(CAUSEWAY_ADDRESS)};
#undef CAUSEWAY_ADDRESS

using Names = std::span<const std::string_view>;

// Returns nullptr if no architecture matches.
const HfArchitecture* find(Names HfArchitecture::*list, std::string_view name) {
  for (const HfArchitecture* const architecture : kArchitectures) {
    const Names names = architecture->*list;
    if (std::find(names.begin(), names.end(), name) != names.end()) return architecture;
  }
  return nullptr;
}

}  // namespace

const HfArchitecture& hf_architecture(const Settings& config) {
  for (const std::string& name : config.texts("architectures")) {
    const HfArchitecture* const found = find(&HfArchitecture::classes, name);
    if (found != nullptr) return *found;
  }
  const std::string type = config.text_or("model_type", "");
  const HfArchitecture* const found = find(&HfArchitecture::model_types, type);
  if (found != nullptr) return *found;
  config.not_supported("model_type",
                       fmt::format("there is no forward pass for '{}'", bridge::printable(type)));
}

}  // namespace models
