#include "bridge/convert/check_mapping.h"

#include <string>
#include <string_view>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/source_match.h"
#include "bridge/convert/stream/dropped_tensors.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/hf/hf_folder.h"
#include "mappings/megatron/megatron_args.h"
#include "mappings/table/unfamiliar.h"

namespace bridge {
namespace {

// Evaluates the configuration of every element type that --dtype may ask for.
void check_configuration(const mappings::Binding& binding) {
  for (const std::string_view dtype : {"bf16", "fp16", "fp32"}) {
    mappings::megatron_args(binding.megatron_config(dtype), {});
  }
}

// Tensors that a rule drops as copies must be copies.
void compare_repeated(FileSystem& fs, const HfFolder& folder, const SourceMatch& match) {
  HfReader reader(fs, folder);
  SourceCrcs crcs(folder, {});
  DroppedTensors dropped(folder, reader, crcs);
  for (const DroppedSource& item : match.dropped) {
    if (item.equals >= 0) dropped.compare(item);
  }
}

}  // namespace

MappingSummary check_mapping(FileSystem& fs, const CheckOptions& options) {
  MemoryBudget budget(options.memory);
  const HfFolder folder = open_hf_folder(fs, options.hf_dir, budget);
  const BoundModel model = bind_model(
      read_config(fs, folder.path), (folder.path / "config.json").string(),
      choose_table(fs, options, nullptr), {.drop_mtp = !options.keep_mtp},
      [&](const mappings::Binding& binding) { return found_mtp_depths(folder, binding); });
  Accounting accounting;
  MappingSummary report;
  report.source_tensors = folder.tensors.size();
  const SourceMatch match =
      match_source(folder, model.binding, {.keep_mtp = options.keep_mtp}, accounting,
                   [&](const MatchedTensor&) { ++report.target_tensors; });
  accounting.raise_unless_clean(printable(folder.path.string()), {});
  check_configuration(model.binding);
  compare_repeated(fs, folder, match);

  report.dropped = match.dropped.size();
  for (const std::string& text : model.binding.warnings()) report.warn(text);
  for (const std::string& text : mappings::unfamiliar_names(model.binding.table())) {
    report.warn(printable(options.mapping.filename().string()) + ": " + text);
  }
  return report;
}

}  // namespace bridge
