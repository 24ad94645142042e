#include "bridge/convert/match/export_config.h"

#include <algorithm>
#include <utility>

#include "bridge/convert/match/checkpoint_match.h"
#include "bridge/convert/match/derived_config.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/convert/match/stated_mtp.h"
#include "bridge/convert/match/table_choice.h"

namespace bridge {
namespace {

class Settlement {
 public:
  Settlement(const MegatronFolder& checkpoint, const Origin& origin, const Statement& statement,
             const ExportOptions& options)
      : checkpoint_(checkpoint), origin_(origin), statement_(statement), options_(options) {}

  // Settles one config.json; messages call it `name`.
  ExportConfig settle(std::string text, const std::string& name, const TableChoice& table) const {
    bool keep_mtp = options_.keep_mtp;
    const auto bind = [&](const std::string& config) {
      return bind_model(
          config, name, table,
          {.drop_mtp = !keep_mtp,
           .text_only = options_.text_only,
           .keep_quantized = !options_.dtype},
          [&](const mappings::Binding& binding) { return mtp_depths(binding); },
          [&](const mappings::Binding& binding) {
            return lacks_output_layer(origin_, checkpoint_, binding);
          });
    };
    BoundModel model = bind(text);
    std::vector<mappings::ConfigChange> changes;
    const MtpDecision mtp =
        decide_mtp(statement_, checkpoint_, model.binding, origin_, options_, name);
    if (mtp.drop) {
      keep_mtp = false;
      model = bind(text);
    } else if (mtp.count > 0) {
      changes.push_back(
          {model.binding.table().mtp_key, model.binding.promised_mtp_depths(), mtp.count});
      text = with_mtp_count(text, model.binding, mtp.count);
      model = bind(text);
    }
    StatedConfig stated =
        follow_statement(statement_, std::move(text), std::move(model), name, bind);
    stated.changes.insert(stated.changes.begin(), changes.begin(), changes.end());
    return {{}, std::move(stated), keep_mtp, mtp.none, std::nullopt};
  }

  // Throws unless a derived config.json says what the checkpoint says and accounts for every
  // tensor.
  void check(const DerivedConfig& derived, const std::string& name) const {
    const ExportConfig config = settle(derived.text, name, derived.table);
    const mappings::Binding& binding = config.stated.model.binding;
    CheckpointMatchOptions match;
    match.dialect = derived_dialect(binding);
    match.local_spec = options_.spec == Spec::kLocal;
    match.hf_vocab_rows = options_.vocab_rows;
    match.layer_keys = options_.layer_keys;
    match.name_prefix = options_.name_prefix;
    match.keep_mtp = config.keep_mtp;
    match.no_parts = true;
    Accounting accounting;
    match_checkpoint(checkpoint_, binding, match, accounting, [](const CheckpointTensor&) {});
    accounting.raise_unless_clean(name, {});
  }

 private:
  // Counts depths that the source had, so that the match reports them if the checkpoint lacks them.
  int64_t mtp_depths(const mappings::Binding& binding) const {
    const int64_t there = found_mtp_depths(checkpoint_, binding, options_.name_prefix);
    const HfFolder* source = origin_.layout();
    return source == nullptr ? there : std::max(there, found_mtp_depths(*source, binding));
  }

  const MegatronFolder& checkpoint_;
  const Origin& origin_;
  const Statement& statement_;
  const ExportOptions& options_;
};

}  // namespace

ExportConfig settle_config(FileSystem& fs, const MegatronFolder& checkpoint, const Origin& origin,
                           Statement statement, const ExportOptions& options) {
  const Settlement settlement(checkpoint, origin, statement, options);
  const TableChoice table = choose_table(fs, options, origin.sidecar ? &*origin.sidecar : nullptr);
  ExportConfig config = [&] {
    if (origin.is_none()) {
      const std::string name = (options.target / "config.json").string();
      DerivedConfig derived =
          derive_config(statement, checkpoint, table,
                        [&](const DerivedConfig& each) { settlement.check(each, name); });
      ExportConfig made = settlement.settle(derived.text, name, derived.table);
      made.derived = {std::move(derived.architecture), std::move(derived.from_tensors)};
      return made;
    }
    const Path folder = origin.reference ? origin.reference->path : origin.sidecar->path / "files";
    return settlement.settle(origin.config_text(fs), (folder / "config.json").string(), table);
  }();
  config.statement = std::move(statement);
  return config;
}

}  // namespace bridge
