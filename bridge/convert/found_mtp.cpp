#include "bridge/convert/found_mtp.h"

#include <algorithm>
#include <functional>

#include "bridge/convert/key_naming.h"
#include "bridge/convert/mtp_check.h"

namespace bridge {
namespace {

int64_t count_depths(const std::function<std::vector<std::string>(int64_t)>& prefixes_of,
                     const std::function<bool(const std::string&)>& has_tensors) {
  std::vector<std::string> seen;
  for (int64_t depth = 0;; ++depth) {
    std::vector<std::string> prefixes = prefixes_of(depth);
    // A prefix without a number serves every depth.
    std::erase_if(prefixes, [&](const std::string& prefix) {
      return std::find(seen.begin(), seen.end(), prefix) != seen.end();
    });
    if (std::none_of(prefixes.begin(), prefixes.end(), has_tensors)) return depth;
    seen.insert(seen.end(), prefixes.begin(), prefixes.end());
  }
}

}  // namespace

int64_t found_mtp_depths(const HfFolder& folder, const mappings::Binding& binding) {
  const size_t dialect =
      binding.choose_dialect([&](std::string_view name) { return folder.find(name) != nullptr; });
  return count_depths(
      [&](int64_t depth) { return binding.mtp_hf_prefixes(dialect, depth); },
      [&](const std::string& prefix) { return !tensors_with_prefix(folder, prefix).empty(); });
}

int64_t found_mtp_depths(const MegatronFolder& folder, const mappings::Binding& binding) {
  const std::string key_prefix = detect_prefix(folder);
  return count_depths([&](int64_t depth) { return binding.mtp_megatron_prefixes(depth); },
                      [&](const std::string& prefix) {
                        return !tensors_with_prefix(folder, key_prefix + prefix).empty();
                      });
}

}  // namespace bridge
