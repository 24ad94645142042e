#include "bridge/convert/match/mtp.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "bridge/convert/match/key_naming.h"
#include "bridge/convert/match/source_match.h"

namespace bridge {
namespace {

const std::string& name_of(const HfTensor& tensor) {
  return tensor.name;
}
const std::string& name_of(const DcpTensor& tensor) {
  return tensor.key;
}

// The tensors must be sorted by name.
template <typename Tensor>
std::span<const Tensor> with_prefix(const std::vector<Tensor>& tensors, std::string_view prefix) {
  const auto first = std::partition_point(tensors.begin(), tensors.end(), [&](const Tensor& t) {
    return std::string_view(name_of(t)) < prefix;
  });
  const auto last = std::partition_point(
      first, tensors.end(), [&](const Tensor& t) { return name_of(t).starts_with(prefix); });
  return {first, last};
}

// How to find the MTP depths of one side.
struct Side {
  std::string where;
  std::function<std::vector<std::string>(int64_t)> prefixes_of;  // prefixes of a depth's tensors
  std::function<size_t(const std::string&)> count;               // tensors under a prefix
  std::function<bool(int64_t)> is_mtp;                           // of a depth that has tensors
  bool drops_uncounted = false;                                  // a rule of the table does
  bool can_be_counted = false;  // --mtp keep makes config.json count them
};

constexpr std::string_view kMtp = "mtp.";

// True if the table has rows with this prefix: a table may have them without counting depths.
bool has_rows_of(const mappings::Binding& binding, std::string_view prefix) {
  bool found = false;
  for (size_t dialect = 0; dialect < binding.dialect_count() && !found; ++dialect) {
    binding.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& tensor) {
      found = found || tensor.name.starts_with(kMtp);
      for (const auto& spec : tensor.hf) found = found || spec.name.starts_with(prefix);
    });
  }
  return found;
}

std::vector<std::string> check(const Side& side, const mappings::Binding& binding, bool keep_mtp) {
  const std::string& key = binding.table().mtp_key;
  const int64_t promised = binding.promised_mtp_depths();
  std::vector<std::string> present;
  for (int64_t depth = 0;; ++depth) {
    std::vector<std::string> prefixes = side.prefixes_of(depth);
    // A prefix without a number serves every depth.
    std::erase_if(prefixes, [&](const std::string& prefix) {
      return std::find(present.begin(), present.end(), prefix) != present.end();
    });
    // The prefix of the frame may be the beginning of the layer's.
    prefixes = mappings::outermost(std::move(prefixes));
    size_t tensors = 0;
    for (const std::string& prefix : prefixes) tensors += side.count(prefix);
    if (depth >= promised && (tensors == 0 || side.drops_uncounted)) {
      return mappings::outermost(std::move(present));
    }
    const std::string names = fmt::format("{}*", fmt::join(prefixes, "*, "));
    if (keep_mtp && tensors == 0 && !prefixes.empty()) {
      bad_input(
          fmt::format("{}: config.json promises {} MTP layers ({}), but there are no tensors {}",
                      side.where, promised, key, printable(names)),
          "--mtp drop goes on without MTP");
    }
    if (keep_mtp && depth >= promised) {
      bad_input(
          fmt::format("{}: {} tensors {} of MTP layer {}, but config.json promises {} ({})",
                      side.where, tensors, printable(names), depth, promised, key),
          side.can_be_counted
              ? "--mtp drop leaves them out; --mtp keep writes them, and config.json counts them"
              : fmt::format("--mtp drop leaves them out; or correct {}", key));
    }
    if (!keep_mtp && tensors > 0 && !side.is_mtp(depth)) {
      bad_input(fmt::format(
                    "{}: --mtp drop would leave out {} tensors {}, which are those of an ordinary "
                    "layer",
                    side.where, tensors, printable(names)),
                "config.json counts fewer layers than there are");
    }
    present.insert(present.end(), prefixes.begin(), prefixes.end());
  }
}

// Checks depths that the table has no rows for, which training added to a model released without
// them. prefix: what their names begin with on this side. They are named and dropped as others are.
std::vector<std::string> check_added(const std::string& where, const std::string& prefix,
                                     size_t tensors, const mappings::Binding& binding,
                                     bool keep_mtp) {
  if (tensors == 0 || has_rows_of(binding, prefix)) return {};
  if (keep_mtp) {
    bad_input(fmt::format("{}: {} tensors {}* of MTP layers, which table {} has no place for",
                          where, tensors, printable(prefix), binding.table().file),
              "--mtp drop leaves them out");
  }
  return {prefix};
}

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

std::span<const HfTensor> tensors_with_prefix(const HfFolder& folder, std::string_view prefix) {
  return with_prefix(folder.tensors, prefix);
}
std::span<const DcpTensor> tensors_with_prefix(const MegatronFolder& folder,
                                               std::string_view prefix) {
  return with_prefix(folder.metadata.tensors, prefix);
}

std::vector<std::string> check_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                   size_t dialect, bool keep_mtp) {
  if (binding.table().mtp_key.empty()) {
    const std::string prefix(kMtp);
    return check_added(printable(folder.path.string()), prefix,
                       tensors_with_prefix(folder, prefix).size(), binding, keep_mtp);
  }
  const auto has = [&](std::string_view name) {
    return find_stored(folder, binding, std::string(name)) != nullptr;
  };
  return check(
      {printable(folder.path.string()),
       [&](int64_t depth) { return binding.mtp_hf_prefixes(dialect, depth); },
       [&](const std::string& prefix) { return tensors_with_prefix(folder, prefix).size(); },
       [&](int64_t depth) { return binding.is_mtp_layer(dialect, depth, has); },
       binding.uncounted_mtp() != nullptr},
      binding, keep_mtp);
}

std::vector<std::string> check_mtp(const MegatronFolder& folder, const mappings::Binding& binding,
                                   std::string_view key_prefix, bool keep_mtp) {
  if (binding.table().mtp_key.empty()) {
    const std::string prefix = std::string(key_prefix) + std::string(kMtp);
    return check_added(printable(folder.dist_dir.string()), prefix,
                       tensors_with_prefix(folder, prefix).size(), binding, keep_mtp);
  }
  return check(
      {printable(folder.dist_dir.string()),
       [&](int64_t depth) {
         std::vector<std::string> prefixes = binding.mtp_megatron_prefixes(depth);
         for (std::string& prefix : prefixes) prefix.insert(0, key_prefix);
         return prefixes;
       },
       [&](const std::string& prefix) { return tensors_with_prefix(folder, prefix).size(); },
       [](int64_t) { return true; },  // Megatron's keys say so
       false, true},
      binding, keep_mtp);
}

int64_t found_mtp_depths(const HfFolder& folder, const mappings::Binding& binding) {
  const size_t dialect = dialect_of(folder, binding);
  return count_depths(
      [&](int64_t depth) { return binding.mtp_hf_prefixes(dialect, depth); },
      [&](const std::string& prefix) { return !tensors_with_prefix(folder, prefix).empty(); });
}

int64_t found_mtp_depths(const MegatronFolder& folder, const mappings::Binding& binding,
                         const std::optional<std::string>& name_prefix) {
  const std::string key_prefix = detect_prefix(folder, name_prefix);
  return count_depths([&](int64_t depth) { return binding.mtp_megatron_prefixes(depth); },
                      [&](const std::string& prefix) {
                        return !tensors_with_prefix(folder, key_prefix + prefix).empty();
                      });
}

std::vector<const HfTensor*> uncounted_mtp(const HfFolder& folder, const mappings::Binding& binding,
                                           size_t dialect) {
  std::vector<const HfTensor*> found;
  if (binding.uncounted_mtp() == nullptr) return found;
  const auto has = [&](std::string_view name) {
    return find_stored(folder, binding, std::string(name)) != nullptr;
  };
  // A prefix without a number names the same tensors in every depth.
  std::unordered_set<const HfTensor*> seen;
  const auto take = [&](const HfTensor& tensor) {
    if (seen.insert(&tensor).second) found.push_back(&tensor);
  };
  for (int64_t depth = binding.promised_mtp_depths();; ++depth) {
    // An ordinary layer that config.json does not count is no MTP layer.
    if (!binding.is_mtp_layer(dialect, depth, has)) return found;
    const size_t before = found.size();
    binding.for_each_mtp_name(dialect, depth, [&](const std::string& name) {
      const HfTensor* tensor = find_stored(folder, binding, name);
      if (tensor == nullptr) return;
      take(*tensor);
      const mappings::BlockScheme* scheme = find_scheme(binding, *tensor);
      if (scheme != nullptr) for_each_beside(folder, *scheme, name, take);
    });
    if (found.size() == before) return found;
  }
}

}  // namespace bridge
