#include <fmt/format.h>

#include "bridge/convert/commit/report_place.h"
#include "bridge/convert/convert.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/launch/rank.h"
#include "cli/commands.h"
#include "cli/stopwatch.h"

namespace cli {
namespace {

using bridge::printable;
using bridge::size_text;

Lines lines_of(const bridge::ConvertSummary& summary) {
  Lines lines = {
      fmt::format("source   {}: {} tensors in {} shards, {}", printable(summary.source.string()),
                  summary.source_tensors, summary.source_shards, size_text(summary.source_bytes)),
      fmt::format("table    {} ({})", summary.table,
                  summary.hybrid           ? "keys of a HybridModel"
                  : summary.per_layer_keys ? "per-layer keys"
                                           : "stacked layers"),
      fmt::format("target   {}: {} tensors in {} files, {}", printable(summary.target.string()),
                  summary.target_tensors, summary.target_files, size_text(summary.target_bytes))};
  list(lines, "dropped ", summary.dropped);
  for (const auto& [prefix, tensors] : summary.dropped_mtp) {
    lines.push_back(fmt::format("dropped  {} tensors {}*: --mtp drop", tensors, printable(prefix)));
  }
  if (summary.quantized_tensors > 0) {
    lines.push_back(fmt::format("fp8      {} tensors become {}; their scales go to the sidecar",
                                summary.quantized_tensors, safetensors_name(summary.main_dtype)));
  }
  list_beside_model(lines, summary.beside);
  if (summary.sidecar) {
    std::string line = fmt::format("sidecar  {} in {} files", size_text(summary.sidecar->bytes),
                                   summary.sidecar->files);
    if (summary.witness_bytes > 0) {
      line += fmt::format(", {} of them source bytes that the target cannot hold",
                          size_text(summary.witness_bytes));
    }
    lines.push_back(std::move(line));
    lines.push_back(
        fmt::format("next     Megatron-LM needs more than --use-checkpoint-args: `causeway inspect "
                    "{} --megatron-args` prints it",
                    printable(summary.target.string())));
  }
  return lines;
}

}  // namespace

int convert_hf(const bridge::ConvertOptions& options) {
  const Stopwatch stopwatch;
  bridge::FileSystem& fs = bridge::real_file_system();
  if (!options.rank.leads()) {
    if (!options.dry_run) {
      bridge::convert_hf(fs, options);
      bridge::print_part_done(options.rank, options.quiet);
    }
    return 0;
  }
  bridge::check_report_place(fs, options.report, {options.source, options.mapping, options.expect},
                             {options.target, options.sidecar});
  const bridge::ConvertSummary summary = bridge::convert_hf(fs, options);
  return finish(options, summary, lines_of(summary), stopwatch.seconds());
}

}  // namespace cli
