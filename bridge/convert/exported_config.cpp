#include "bridge/convert/exported_config.h"

#include <utility>

#include "bridge/convert/commit/quantization_ignore.h"
#include "bridge/convert/commit/text_form.h"
#include "bridge/convert/match/stated_mtp.h"
#include "bridge/convert/plan/written_dtype.h"

namespace bridge {

ConfigChanges config_changes(const ExportOptions& options, const ExportConfig& config,
                             const Origin& origin, const ExportPlan& plan) {
  const mappings::Binding& binding = config.stated.model.binding;
  ConfigChanges changes;
  changes.stated = config.derived.has_value() || !config.stated.changes.empty();
  changes.dtype = options.dtype
                      ? options.dtype
                      : dtype_to_name(plan, origin, config.stated.text, binding.config_root());
  changes.vocab_size = plan.hf_vocab_rows;
  changes.unquantized = options.dtype && !binding.block_schemes().empty();
  if (!options.keep_mtp && binding.promised_mtp_depths() > 0 &&
      (config.no_mtp || origin.layout() == nullptr || origin_has_mtp(origin, binding))) {
    changes.no_mtp = binding.table().mtp_key;
  }
  changes.root = plan.text_form ? std::string() : binding.config_root();
  return changes;
}

std::optional<std::string> own_config(const std::string& text, const mappings::Binding& binding,
                                      const ExportPlan& plan, const ConfigChanges& changes) {
  const std::string patched =
      patch_config(plan.text_form ? text_form_config(text, binding, plan.dialect) : text, changes);
  std::string own = ignoring_plain_matrices(patched, plan);
  const bool as_it_is = !changes.any() && !plan.text_form && own == patched;
  return as_it_is ? std::nullopt : std::optional(std::move(own));
}

}  // namespace bridge
