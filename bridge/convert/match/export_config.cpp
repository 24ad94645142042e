#include "bridge/convert/match/export_config.h"

#include <algorithm>

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/match/stated_mtp.h"
#include "bridge/convert/match/table_choice.h"

namespace bridge {

ExportConfig settle_config(FileSystem& fs, const MegatronFolder& checkpoint, const Origin& origin,
                           const ExportOptions& options, MemoryBudget& budget) {
  bool keep_mtp = options.keep_mtp;
  const Path folder = origin.reference ? origin.reference->path : origin.sidecar->path / "files";
  const std::string name = (folder / "config.json").string();
  const TableChoice table = choose_table(fs, options, origin.sidecar ? &*origin.sidecar : nullptr);
  const auto bind = [&](const std::string& text) {
    return bind_model(
        text, name, table, {.drop_mtp = !keep_mtp, .text_only = options.text_only},
        [&](const mappings::Binding& binding) {
          // Counts depths that the source had, so that the match reports them if the checkpoint
          // lacks them.
          const int64_t there = found_mtp_depths(checkpoint, binding, options.name_prefix);
          const HfFolder* source = origin.layout();
          return source == nullptr ? there : std::max(there, found_mtp_depths(*source, binding));
        },
        [&](const mappings::Binding& binding) {
          return lacks_output_layer(origin, checkpoint, binding);
        });
  };
  Statement statement = read_statement(fs, checkpoint, budget);
  std::string text = origin.config_text(fs);
  BoundModel model = bind(text);
  std::vector<mappings::ConfigChange> changes;
  const MtpDecision mtp = decide_mtp(statement, checkpoint, model.binding, origin, options, name);
  if (mtp.drop) {
    keep_mtp = false;
    model = bind(text);
  } else if (mtp.count > 0) {
    changes.push_back(
        {model.binding.table().mtp_key, model.binding.promised_mtp_depths(), mtp.count});
    text = with_mtp_count(text, model.binding, mtp.count);
    model = bind(text);
  }
  StatedConfig stated = follow_statement(statement, std::move(text), std::move(model), name, bind);
  stated.changes.insert(stated.changes.begin(), changes.begin(), changes.end());
  return {std::move(statement), std::move(stated), keep_mtp, mtp.none};
}

}  // namespace bridge
