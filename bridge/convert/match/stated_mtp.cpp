#include "bridge/convert/match/stated_mtp.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/stated_config.h"
#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/json_strict.h"

namespace bridge {

bool origin_has_mtp(const Origin& origin, const mappings::Binding& binding) {
  if (origin.layout() == nullptr) return false;
  for (size_t dialect = 0; dialect < binding.dialect_count(); ++dialect) {
    for (const std::string& prefix : binding.mtp_hf_prefixes(dialect, 0)) {
      if (!tensors_with_prefix(*origin.layout(), prefix).empty()) return true;
    }
  }
  return false;
}

MtpDecision decide_mtp(const Statement& statement, const MegatronFolder& checkpoint,
                       const mappings::Binding& binding, const Origin& origin,
                       const ExportOptions& options, const std::string& config_name) {
  if (!options.keep_mtp) return {};
  const std::optional<int64_t> said = statement.integer("mtp_num_layers");
  const int64_t promised = binding.promised_mtp_depths();
  const int64_t found = found_mtp_depths(checkpoint, binding, options.name_prefix);
  const bool absent = found == 0 && said.value_or(0) == 0 && !options.mtp_asked;
  // If the source had no MTP, --mtp drop of the conversion left nothing out; no need to ask again.
  const bool nothing_lost = origin.layout() != nullptr && !origin_has_mtp(origin, binding);
  if (absent && origin.mtp_was_dropped() && (said || nothing_lost)) return {.drop = true};
  if (absent && said && promised > 0) return {.drop = true, .none = true};

  const std::string& key = binding.table().mtp_key;
  const int64_t has = said.value_or(found);
  const int64_t most = std::max(has, found);
  if (options.mtp_asked && most > promised && !key.empty()) return {.count = most};
  // If the tensors differ from config.json too, check_mtp() says which.
  if (!said || has == promised || has == 0 || (!key.empty() && found != promised)) return {};
  refuse_differences({{"mtp_num_layers", mappings::FieldKind::kLayout, has, promised}}, statement,
                     config_name,
                     key.empty() ? fmt::format("table {} has no rows for them, so that --mtp keep "
                                               "cannot write them; --mtp drop leaves them out",
                                               binding.table().file)
                                 : "--mtp drop goes on without MTP");
  return {};
}

std::string with_mtp_count(const std::string& config_text, const mappings::Binding& binding,
                           int64_t count) {
  nlohmann::ordered_json config = parse_json(config_text, {.non_finite = true});
  const std::string root = binding.config_root();
  (root.empty() ? config : config[root])[binding.table().mtp_key] = count;
  return dump_with_non_finite(config) + "\n";
}

}  // namespace bridge
