#include "bridge/convert/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/inspect_flags.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/json_file.h"
#include "cli/commands.h"
#include "cli/html_page.h"

namespace cli {
namespace {

using bridge::InspectSummary;
using bridge::printable;
using bridge::shape_text;
using bridge::size_text;

const char* presence(bool is_there) {
  return is_there ? "present" : "absent";
}

void describe(Lines& lines, const bridge::Path& path, const bridge::HuggingFaceFacts& found) {
  lines.push_back(fmt::format("kind        Hugging Face folder {}", printable(path.string())));
  if (!found.architecture.empty()) lines.push_back("model       " + found.architecture);
  lines.push_back(
      fmt::format("shards      {}{}", found.shards, found.has_index ? ", with an index" : ""));
  lines.push_back(fmt::format("side files  {}", fmt::join(found.side_files, ", ")));
  list_beside_model(lines, found.beside);
}

void describe(Lines& lines, const bridge::Path& path, const bridge::MegatronFacts& found) {
  lines.push_back(
      fmt::format("kind        Megatron torch_dist checkpoint {}", printable(path.string())));
  if (!found.iteration.empty()) lines.push_back("iteration   " + printable(found.iteration));
  if (!found.key_prefix.empty()) {
    lines.push_back(fmt::format("keys        begin with {} (a checkpoint of NeMo), left out below",
                                found.key_prefix));
  }
  if (found.common) {
    lines.push_back(fmt::format("content     checkpoint_version {}, iteration {}, args {}",
                                found.common->checkpoint_version, found.common->iteration,
                                presence(found.common->has_args)));
  }
  lines.push_back(fmt::format(
      "training    {} tensors and {} objects that are not weights (optimizer, RNG, _extra_state)",
      found.training_tensors, found.objects));
  lines.push_back(fmt::format("files       {} data files, run_config.yaml {}, sidecar {}",
                              found.data_files, presence(found.has_run_config),
                              presence(found.has_sidecar)));
}

void list_tensors(Lines& lines, const InspectSummary& summary) {
  std::vector<std::string> dtypes;
  for (const auto& [dtype, tensors, bytes] : summary.by_dtype) {
    dtypes.push_back(fmt::format("{} {} ({})", tensors, dtype, size_text(bytes)));
  }
  lines.push_back(fmt::format("tensors     {}, {}: {}", summary.tensors, size_text(summary.bytes),
                              fmt::join(dtypes, ", ")));
  size_t widest = 0;
  for (const InspectSummary::Line& line : summary.lines) {
    widest = std::max(widest, line.name.size());
  }
  lines.emplace_back();
  lines.push_back(fmt::format("{:<{}}  {:>6}  {:<8}  {:<22}  {:>10}", "name", widest, "count",
                              "dtype", "shape", "bytes"));
  for (const InspectSummary::Line& line : summary.lines) {
    lines.push_back(fmt::format("{:<{}}  {:>6}  {:<8}  {:<22}  {:>10}", line.name, widest,
                                line.tensors, safetensors_name(line.dtype), shape_text(line.shape),
                                size_text(line.bytes)));
  }
}

Lines lines_of(const InspectSummary& summary) {
  Lines lines;
  std::visit([&](const auto& found) { describe(lines, summary.path, found); }, summary.facts);
  list_tensors(lines, summary);
  return lines;
}

// The first line holds the flags alone. The others start with "#", so that a shell skips them.
Lines lines_of(const bridge::FlagsSummary& summary) {
  Lines lines = {
      fmt::format("{}", fmt::join(summary.found.flags, " ")),
      "# for Megatron-LM beside --use-checkpoint-args, which does not take these from the "
      "checkpoint"};
  for (const auto& [name, value] : summary.found.no_flag) {
    lines.push_back(
        fmt::format("# Megatron-LM has no flag for {}: set {} = {} of the configuration in code",
                    name, name, value));
  }
  if (!summary.found.provider.empty()) {
    lines.emplace_back("# the same as fields of Megatron-Bridge's model provider:");
  }
  for (const auto& [name, value] : summary.found.provider) {
    lines.push_back(fmt::format("#   {} = {}", name, value));
  }
  return lines;
}

template <typename Summary>
int print(const bridge::InspectOptions& options, const Summary& summary) {
  if (options.as_json) {
    fmt::print("{}\n", summary.json.dump(2));
    return 0;
  }
  return finish(options, summary, lines_of(summary), 0);
}

int write_page(bridge::FileSystem& fs, const InspectCommand& command) {
  bridge::check_report_place(fs, command.html, {command.options.path}, {}, "--html");
  bridge::InspectOptions options = command.options;
  options.for_page = true;
  const InspectSummary summary = bridge::inspect(fs, options);
  const std::string name = command.options.path.filename().native();
  bridge::replace_text_file(fs, command.html, html_page("inspect", name, summary.json));
  return finish(options, summary, lines_of(summary), 0);
}

}  // namespace

int inspect(const InspectCommand& command) {
  bridge::FileSystem& fs = bridge::real_file_system();
  if (!command.html.empty()) return write_page(fs, command);
  return command.megatron_args ? print(command.options, bridge::inspect_flags(fs, command.options))
                               : print(command.options, bridge::inspect(fs, command.options));
}

}  // namespace cli
