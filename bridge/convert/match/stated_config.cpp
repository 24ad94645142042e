#include "bridge/convert/match/stated_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "bridge/convert/match/vocabulary.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/json_non_finite.h"
#include "bridge/io/base/json_strict.h"
#include "mappings/megatron/statement.h"

namespace bridge {
namespace {

using mappings::FieldDifference;
using mappings::FieldKind;
using mappings::Json;

Json meaning_of(const mappings::Binding& binding) {
  // Any dtype will do: no field that is compared depends on it.
  return mappings::statement_of_provider(binding.megatron_config("bf16"),
                                         mappings::Absent::kDefault);
}

std::vector<FieldDifference> differences_from(const Statement& statement,
                                              const mappings::Binding& binding) {
  if (statement.empty()) return {};
  return mappings::compare_statements(statement.fields, meaning_of(binding));
}

std::vector<FieldDifference> of_kind(const std::vector<FieldDifference>& all, FieldKind kind) {
  std::vector<FieldDifference> some;
  std::copy_if(all.begin(), all.end(), std::back_inserter(some),
               [&](const FieldDifference& difference) { return difference.kind == kind; });
  return some;
}

// Returns what config.json must mean: its own meaning, with the checkpoint's value in every field
// that differs.
Json corrected(Json meaning, const std::vector<FieldDifference>& differences) {
  for (const FieldDifference& difference : differences) {
    meaning[difference.field] = difference.checkpoint;
  }
  return meaning;
}

void take_values(const Statement& statement, const std::vector<FieldDifference>& values,
                 const std::string& config_name,
                 const std::function<BoundModel(const std::string&)>& bind, StatedConfig& result) {
  const mappings::Table& table = result.model.binding.table();
  Json config = parse_json(result.text, {.non_finite = true});
  const std::string root = result.model.binding.config_root();
  const Json before = meaning_of(result.model.binding);
  result.changes = mappings::bring_up_to_date(table, before, corrected(before, values),
                                              root.empty() ? config : config[root]);
  if (!result.changes.empty()) {
    result.text = dump_with_non_finite(config) + "\n";
    result.model = bind(result.text);
  }
  std::vector<FieldDifference> left;
  for (FieldDifference& difference : differences_from(statement, result.model.binding)) {
    if (difference.kind == FieldKind::kListed) continue;
    // A table may have no key for the sequence length: a longer training is listed, not refused.
    const bool harmless = difference.field == "seq_length";
    (harmless ? result.listed : left).push_back(std::move(difference));
  }
  refuse_differences(left, statement, config_name,
                     fmt::format("table {} has no key of config.json for it: correct config.json, "
                                 "or give another with --reference",
                                 result.model.binding.table().file));
}

}  // namespace

std::string difference_values(const FieldDifference& difference) {
  return fmt::format("checkpoint {}, config.json {}", mappings::field_text(difference.checkpoint),
                     mappings::field_text(difference.config));
}

std::string difference_text(const FieldDifference& difference) {
  return fmt::format("{}: {}", difference.field, difference_values(difference));
}

void refuse_differences(const std::vector<FieldDifference>& differences, const Statement& statement,
                        const std::string& config_name, std::string hint) {
  if (differences.empty()) return;
  std::string text =
      fmt::format("{}: the checkpoint says otherwise ({})", printable(config_name), statement.of);
  for (const FieldDifference& difference : differences) {
    text += "\n  " + difference_text(difference);
  }
  bad_input(std::move(text), std::move(hint));
}

std::vector<FieldDifference> statement_differences(const Statement& statement,
                                                   const mappings::Binding& binding) {
  auto differences = differences_from(statement, binding);
  std::erase_if(differences, [](const FieldDifference& difference) {
    return difference.kind == FieldKind::kListed;
  });
  const Json meaning = meaning_of(binding);
  const std::optional<int64_t> depths = statement.integer("mtp_num_layers");
  const Json meant = meaning.value("mtp_num_layers", Json(0));
  if (depths && meant != *depths) {
    differences.push_back({"mtp_num_layers", FieldKind::kLayout, *depths, meant});
  }
  const Json rows = meaning.value("vocab_size", Json());
  const auto larger =
      rows.is_number_integer() ? larger_vocabulary(statement, rows.get<int64_t>()) : std::nullopt;
  if (larger) differences.push_back({"vocab_size", FieldKind::kLayout, *larger, rows});
  return differences;
}

StatedConfig follow_statement(const Statement& statement, std::string config_text, BoundModel model,
                              const std::string& config_name,
                              const std::function<BoundModel(const std::string&)>& bind) {
  StatedConfig result{std::move(config_text), std::move(model), {}, {}};
  const auto differences = differences_from(statement, result.model.binding);
  refuse_differences(of_kind(differences, FieldKind::kLayout), statement, config_name,
                     "give the config.json of this checkpoint: --reference HF_DIR");
  const auto values = of_kind(differences, FieldKind::kValue);
  if (!values.empty()) take_values(statement, values, config_name, bind, result);
  const auto listed = of_kind(differences, FieldKind::kListed);
  result.listed.insert(result.listed.end(), listed.begin(), listed.end());
  return result;
}

}  // namespace bridge
