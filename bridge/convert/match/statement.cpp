#include "bridge/convert/match/statement.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/base/yaml.h"
#include "bridge/io/pickle/plain_data.h"
#include "mappings/megatron/statement.h"
#include "mappings/megatron/statement_fields.h"

namespace bridge {
namespace {

using mappings::Json;

constexpr const char* kRunConfig = "run_config.yaml";
constexpr int64_t kLargestRunConfig = 256 << 10;  // Megatron-Bridge's have about 30 KiB
constexpr int64_t kTreeBytes = 64;                // memory for a byte of YAML
constexpr size_t kMostArguments = 1 << 12;        // Megatron-LM has about 900

Json arguments_of(const MegatronFolder& checkpoint) {
  const PickleNode* args = checkpoint.common ? checkpoint.common->get("args") : nullptr;
  if (args == nullptr) return Json::object();
  return with_context("args of the common state", [&] {
    return mappings::statement_of_arguments(plain_attributes(*args, kMostArguments));
  });
}

Json run_config_of(FileSystem& fs, const MegatronFolder& checkpoint, MemoryBudget& budget) {
  if (!checkpoint.has_run_config) return Json::object();
  const std::string text = read_whole_file(fs, checkpoint.dist_dir / kRunConfig, kLargestRunConfig);
  Reservation tree(&budget, kRunConfig);
  tree.grow(std::ssize(text) * kTreeBytes);
  return with_context(kRunConfig, [&] {
    return mappings::statement_of_provider(read_yaml_section(text, "model"),
                                           mappings::Absent::kUnknown);
  });
}

void refuse_contradictions(const Json& arguments, const Json& run_config) {
  const auto differences = mappings::contradictions(arguments, run_config);
  if (differences.empty()) return;
  std::string text = fmt::format(
      "the arguments in the common state and {} say different things of one model", kRunConfig);
  for (const mappings::FieldDifference& difference : differences) {
    text += fmt::format("\n  {}: arguments {}, {} {}", difference.field,
                        mappings::field_text(difference.checkpoint), kRunConfig,
                        mappings::field_text(difference.config));
  }
  bad_input(std::move(text), fmt::format("one of them is of another checkpoint: remove {} if it is "
                                         "not of this iteration",
                                         kRunConfig));
}

std::string source_of(const Json& arguments, const Json& run_config) {
  constexpr const char* kArguments = "the arguments in the common state";
  if (arguments.empty()) return run_config.empty() ? "" : kRunConfig;
  return run_config.empty() ? kArguments : fmt::format("{} and {}", kArguments, kRunConfig);
}

}  // namespace

std::optional<int64_t> Statement::integer(std::string_view name) const {
  const Json::const_iterator it = fields.find(name);
  return it == fields.end() || !it->is_number_integer() ? std::nullopt
                                                        : std::optional(it->get<int64_t>());
}

Statement read_statement(FileSystem& fs, const MegatronFolder& checkpoint, MemoryBudget& budget) {
  const auto where = [&] { return printable(checkpoint.dist_dir.string()); };
  return with_context(where, [&] {
    const Json arguments = arguments_of(checkpoint);
    const Json run_config = run_config_of(fs, checkpoint, budget);
    refuse_contradictions(arguments, run_config);
    Statement statement{arguments, source_of(arguments, run_config)};
    // run_config.yaml wins where both state a field, because its numbers are not rounded.
    for (const auto& [name, value] : run_config.items()) statement.fields[name] = value;
    return statement;
  });
}

}  // namespace bridge
