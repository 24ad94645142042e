#include "bridge/convert/export_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bridge/convert/beside_model.h"

namespace bridge {
namespace {

std::string configuration_from(const Origin& origin) {
  if (origin.is_none()) return "the checkpoint itself";
  return printable((origin.reference ? origin.reference->path : origin.sidecar->path).string());
}

}  // namespace

ExportSummary describe_export(const ExportOptions& options, const MegatronFolder& checkpoint,
                              const mappings::Binding& binding, const Origin& origin,
                              const ExportPlan& plan) {
  ExportSummary report;
  report.source = checkpoint.dist_dir;
  report.source_tensors = checkpoint.metadata.tensors.size();
  report.table = binding.table().file;
  report.configuration_from = configuration_from(origin);
  report.without_tokenizer = origin.is_none() && origin.tokenizer_files == 0;
  report.tokenizer_files = origin.tokenizer_files;
  report.replaced_tokenizer = origin.replaced_tokenizer;
  report.target = options.target;
  report.target_tensors = plan.outputs.size();
  report.target_shards = plan.shards.size();
  report.verbatim_headers = std::count_if(plan.shards.begin(), plan.shards.end(),
                                          [](const auto& shard) { return shard.verbatim >= 0; });
  report.target_bytes = plan.output_bytes;
  report.left_out = plan.left_out;
  report.put_back = plan.put_back;
  report.dropped_mtp_tensors = plan.match.mtp_left_out;
  report.without_head = binding.without_head();
  report.key_prefix = checkpoint.key_prefix;
  if (plan.text_form || (origin.is_none() && plan.match.parts_left_out > 0)) {
    report.dropped_part_tensors = plan.match.parts_left_out;
  }
  report.dequantized_tensors = plan.dequantized;
  report.dtype = options.dtype;
  report.quantized_tensors = plan.quantized;
  nlohmann::ordered_json left_out = nlohmann::ordered_json::array();
  for (const NamedReason& item : plan.left_out) {
    left_out.push_back(fmt::format("{}: {}", item.name, item.reason));
  }
  if (plan.match.other_prefix > 0) {
    report.warn(fmt::format(
        "{} tensors are there with and without language_model.; --name-prefix says which count",
        plan.match.other_prefix));
  }
  for (const std::string& text : plan.warnings) report.warn(text);
  for (const std::string& text : origin.changed_files) report.warn(text);
  if (origin.is_none() && !checkpoint.conversion_id().empty()) {
    report.warn(
        "this iteration was converted from Hugging Face, and its sidecar is not here: with "
        "--sidecar DIR "
        "its own files come back");
  }
  for (const std::string& name :
       origin.sidecar ? origin.sidecar->large_files : std::vector<std::string>()) {
    if (!origin.reference)
      report.warn(printable(name) + " was too large for the sidecar: copy it from the source");
  }
  if (origin.reference) {
    for (const HfSideFile& file : origin.reference->large_side_files) {
      report.warn(printable(file.name) + " is larger than 64MiB: copy it from the reference");
    }
  }
  report.json = {{"command", "export-to-hf"},
                 {"source", printable(checkpoint.dist_dir.string())},
                 {"target", printable(options.target.string())},
                 {"table", report.table},
                 {"configuration", report.configuration_from},
                 {"tokenizer_files", report.tokenizer_files},
                 {"source_tensors", report.source_tensors},
                 {"discarded_training_tensors", checkpoint.metadata.dropped_tensors},
                 {"target_tensors", report.target_tensors},
                 {"target_shards", report.target_shards},
                 {"verbatim_headers", report.verbatim_headers},
                 {"target_bytes", report.target_bytes},
                 {"left_out", left_out},
                 {"put_back_tensors", plan.put_back.size()},
                 {"dropped_mtp_tensors", plan.match.mtp_left_out},
                 {"dropped_part_tensors", plan.match.parts_left_out},
                 {"text_form", plan.text_form},
                 {"quantized_tensors", plan.quantized},
                 {"dry_run", options.dry_run}};
  if (origin.reference) report.beside = describe_beside_model(report, *origin.reference);
  return report;
}

}  // namespace bridge
