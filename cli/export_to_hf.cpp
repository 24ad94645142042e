#include <fmt/format.h>

#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/export.h"
#include "bridge/convert/match/stated_config.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/launch/rank.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/stopwatch.h"
#include "mappings/megatron/statement_fields.h"

namespace cli {
namespace {

using bridge::printable;

void list_statement(Lines& lines, const bridge::StatementSummary& statement) {
  if (statement.of.empty()) lines.emplace_back(kConfigNotChecked);
  if (statement.derived) {
    lines.push_back(fmt::format("config   derived as {} from {}",
                                printable(statement.derived->architecture), statement.of));
    for (const std::string& size : statement.derived->from_tensors) {
      lines.push_back(fmt::format("config   {}, as the tensors have it", printable(size)));
    }
  }
  for (const auto& [change, why] : statement.changes) {
    lines.push_back(fmt::format("config   {}: {}, was {}: {}", printable(change.key),
                                mappings::field_text(change.to), mappings::field_text(change.from),
                                why));
  }
  for (const mappings::FieldDifference& difference : statement.training_only) {
    lines.push_back("training " + bridge::difference_text(difference) + " (left as it is)");
  }
  if (statement.dtype) {
    lines.push_back(fmt::format("config   dtype: {}, as the weights are written",
                                bridge::torch_name(*statement.dtype)));
  }
  if (statement.padding_rows > 0) {
    lines.push_back(fmt::format("padding  {} rows of the vocabulary left out, {} kept",
                                statement.padding_rows, statement.kept_rows));
  }
}

void list_tokenizer(Lines& lines, const bridge::ExportSummary& summary) {
  if (summary.without_tokenizer) {
    lines.emplace_back(
        "files    no tokenizer and nothing else beside the weights: --tokenizer DIR brings one");
  }
  if (summary.tokenizer_files == 0) return;
  std::string line = fmt::format("files    {} of --tokenizer", summary.tokenizer_files);
  if (!summary.replaced_tokenizer.empty()) {
    line += fmt::format(", in place of {} that were there", summary.replaced_tokenizer.size());
  }
  lines.push_back(std::move(line));
}

Lines lines_of(const bridge::ExportSummary& summary, bool dry_run) {
  Lines lines = {
      fmt::format("source   {}: {} tensors", printable(summary.source.string()),
                  summary.source_tensors),
      fmt::format("table    {}, configuration from {}", summary.table, summary.configuration_from),
      fmt::format("target   {}: {} tensors in {} shards ({} with their original header), {}",
                  printable(summary.target.string()), summary.target_tensors, summary.target_shards,
                  summary.verbatim_headers, bridge::size_text(summary.target_bytes))};
  list(lines, "left out", summary.left_out);
  list(lines, "put back", summary.put_back);
  if (summary.dropped_mtp_tensors > 0) {
    lines.push_back(
        fmt::format("dropped  {} MTP tensors: --mtp drop", summary.dropped_mtp_tensors));
  }
  if (summary.dropped_part_tensors) {
    lines.push_back(
        fmt::format("text     the text model on its own: {} tensors of other parts left out{}",
                    *summary.dropped_part_tensors,
                    summary.statement.derived ? "; a vision tower needs --reference" : ""));
  }
  if (summary.without_head) lines.emplace_back("head     none: the model has no output layer");
  if (!summary.key_prefix.empty()) {
    lines.push_back(
        fmt::format("keys     begin with {} (a checkpoint of NeMo)", summary.key_prefix));
  }
  if (summary.dequantized_tensors > 0) {
    lines.push_back(fmt::format("left out the scales of {} tensors, which stay {}",
                                summary.dequantized_tensors, safetensors_name(*summary.dtype)));
  }
  list_statement(lines, summary.statement);
  list_tokenizer(lines, summary);
  if (summary.witnesses > 0) {
    lines.push_back(
        fmt::format("witness  {} elements are the source's own, which the values alone do not tell",
                    summary.witnesses));
  }
  if (summary.quantized_tensors > 0 && !dry_run) {
    lines.push_back(
        fmt::format("blocks   {} with the scales they had, {} with new ones ({} clipped)",
                    summary.blocks.kept, summary.blocks.fresh, summary.blocks.clipped));
  }
  for (const bridge::ExportSummary::Cast& cast : summary.casts) {
    lines.push_back(fmt::format("cast     {} tensors {} -> {}: {} of {} values changed",
                                cast.tensors, safetensors_name(cast.from),
                                safetensors_name(cast.to), cast.changed, cast.values));
  }
  if (summary.beside) list_beside_model(lines, *summary.beside);
  return lines;
}

}  // namespace

int export_to_hf(const bridge::ExportOptions& options) {
  const Stopwatch stopwatch;
  bridge::FileSystem& fs = bridge::real_file_system();
  if (!options.rank.leads()) {
    if (!options.dry_run) {
      bridge::export_to_hf(fs, options);
      bridge::print_part_done(options.rank, options.quiet);
    }
    return 0;
  }
  bridge::check_report_place(
      fs, options.report,
      {options.source, options.mapping, options.sidecar, options.reference, options.tokenizer},
      {options.target});
  const bridge::ExportSummary summary = bridge::export_to_hf(fs, options);
  return finish(options, summary, lines_of(summary, options.dry_run), stopwatch.seconds());
}

}  // namespace cli
