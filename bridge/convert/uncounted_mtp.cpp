#include "bridge/convert/uncounted_mtp.h"

#include <string_view>
#include <unordered_set>

#include "bridge/convert/source_match.h"

namespace bridge {

std::vector<const HfTensor*> uncounted_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                           size_t dialect) {
  std::vector<const HfTensor*> found;
  if (binding.uncounted_mtp() == nullptr) return found;
  const auto has = [&](std::string_view name) { return folder.find(name) != nullptr; };
  // A prefix without a number names the same tensors in every depth.
  std::unordered_set<const HfTensor*> seen;
  const auto take = [&](const HfTensor* tensor) {
    if (tensor != nullptr && seen.insert(tensor).second) found.push_back(tensor);
  };
  for (int64_t depth = binding.promised_mtp_depths();; ++depth) {
    // An ordinary layer that config.json does not count is no MTP.
    if (!binding.is_mtp_layer(dialect, depth, has)) return found;
    const size_t before = found.size();
    binding.for_each_mtp_name(dialect, depth, [&](const std::string& name) {
      const HfTensor* tensor = folder.find(name);
      if (tensor == nullptr) return;
      take(tensor);
      const mappings::BlockScheme* scheme = find_scheme(binding, tensor->dtype);
      const auto scales = scheme == nullptr ? std::nullopt : scheme->scale_name(name);
      if (scales) take(folder.find(*scales));
    });
    if (found.size() == before) return found;
  }
}

}  // namespace bridge
