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

bool contains(Names names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Returns nullptr if no architecture matches.
const HfArchitecture* find(Names HfArchitecture::*list, std::string_view name) {
  for (const HfArchitecture* const architecture : kArchitectures) {
    if (contains(architecture->*list, name)) return architecture;
  }
  return nullptr;
}

}  // namespace

const HfArchitecture& hf_architecture(const Settings& config) {
  const std::string type = config.text_or("model_type", "");
  for (const std::string& name : config.texts("architectures")) {
    const HfArchitecture* const found = find(&HfArchitecture::classes, name);
    if (found != nullptr && !contains(found->not_types, type)) return *found;
  }
  const HfArchitecture* const found = find(&HfArchitecture::model_types, type);
  if (found != nullptr) return *found;
  config.not_supported("model_type",
                       fmt::format("there is no forward pass for '{}'", bridge::printable(type)));
}

}  // namespace models
