#include "bridge/convert/mtp_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

namespace bridge {
namespace {

const std::string& name_of(const HfTensor& tensor) {
  return tensor.name;
}
const std::string& name_of(const DcpTensor& tensor) {
  return tensor.key;
}

// Tensors are sorted by name.
template <typename Tensor>
std::span<const Tensor> with_prefix(const std::vector<Tensor>& tensors, std::string_view prefix) {
  const auto first = std::partition_point(tensors.begin(), tensors.end(), [&](const Tensor& t) {
    return std::string_view(name_of(t)) < prefix;
  });
  const auto last = std::partition_point(
      first, tensors.end(), [&](const Tensor& t) { return name_of(t).starts_with(prefix); });
  return {first, last};
}

// prefixes_of(depth): where the tensors of a depth lie; count(prefix): how many there are.
std::vector<std::string> check(const std::string& where, const mappings::Binding& binding,
                               bool keep_mtp,
                               const std::function<std::vector<std::string>(int64_t)>& prefixes_of,
                               const std::function<size_t(const std::string&)>& count) {
  const std::string& key = binding.table().mtp_key;
  if (key.empty()) return {};
  const int64_t promised = binding.promised_mtp_depths();
  std::vector<std::string> present;
  for (int64_t depth = 0;; ++depth) {
    std::vector<std::string> prefixes = prefixes_of(depth);
    // A prefix without a number serves every depth.
    std::erase_if(prefixes, [&](const std::string& prefix) {
      return std::find(present.begin(), present.end(), prefix) != present.end();
    });
    size_t tensors = 0;
    for (const std::string& prefix : prefixes) tensors += count(prefix);
    if (tensors == 0 && depth >= promised) return present;
    const std::string names = fmt::format("{}*", fmt::join(prefixes, "*, "));
    if (keep_mtp && tensors == 0 && !prefixes.empty()) {
      bad_input(
          fmt::format("{}: config.json promises {} MTP layers ({}), but there are no tensors {}",
                      where, promised, key, printable(names)),
          "--mtp drop goes on without MTP");
    }
    if (keep_mtp && depth >= promised) {
      bad_input(fmt::format("{}: {} tensors {} of MTP layer {}, but config.json promises {} ({})",
                            where, tensors, printable(names), depth, promised, key),
                fmt::format("--mtp drop leaves them out; or correct {}", key));
    }
    present.insert(present.end(), prefixes.begin(), prefixes.end());
  }
}

}  // namespace

std::span<const HfTensor> tensors_with_prefix(const HfFolder& folder, std::string_view prefix) {
  return with_prefix(folder.tensors, prefix);
}
std::span<const DcpTensor> tensors_with_prefix(const MegatronFolder& folder,
                                               std::string_view prefix) {
  return with_prefix(folder.metadata.tensors, prefix);
}

std::vector<std::string> check_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                   size_t dialect, bool keep_mtp) {
  return check(
      printable(folder.path.string()), binding, keep_mtp,
      [&](int64_t depth) { return binding.mtp_hf_prefixes(dialect, depth); },
      [&](const std::string& prefix) { return tensors_with_prefix(folder, prefix).size(); });
}

std::vector<std::string> check_mtp(const MegatronFolder& folder, const mappings::Binding& binding,
                                   std::string_view key_prefix, bool keep_mtp) {
  return check(
      printable(folder.dist_dir.string()), binding, keep_mtp,
      [&](int64_t depth) {
        std::vector<std::string> prefixes = binding.mtp_megatron_prefixes(depth);
        for (std::string& prefix : prefixes) prefix.insert(0, key_prefix);
        return prefixes;
      },
      [&](const std::string& prefix) { return tensors_with_prefix(folder, prefix).size(); });
}

}  // namespace bridge
