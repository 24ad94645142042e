#include "bridge/convert/convert_summary.h"

#include <fmt/format.h>

#include <numeric>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/match/mtp.h"

namespace bridge {
namespace {

void describe_parts(Report& report, const SourceMatch& match) {
  report.json["parts_left_out"] = nlohmann::ordered_json::object();
  for (const PartLeftOut& left : match.parts) {
    if (left.missing > 0) {
      report.warn(fmt::format("{}: {} tensors that config.json promises are not in the source",
                              left.part, left.missing));
    }
    report.json["parts_left_out"][left.part] = {{"tensors", left.tensors},
                                                {"missing", left.missing}};
  }
}

}  // namespace

nlohmann::ordered_json choices_of(const ConvertOptions& options, const ConvertPlan& plan,
                                  const mappings::Binding& binding) {
  nlohmann::ordered_json choices = {
      {"table", binding.table().file},
      {"spec", options.spec == Spec::kTe ? "te" : "local"},
      {"layer_keys", plan.style.per_layer ? "per-layer" : "stacked"},
      {"name_prefix", plan.style.prefix},
      {"vocab_rows", plan.vocab_rows},
      {"glu_interleave", options.glu_interleave},
      {"dtype", options.dtype ? nlohmann::ordered_json(dtype_option(*options.dtype)) : "source"},
      {"mtp", options.keep_mtp ? "keep" : "drop"},
      {"parts", options.text_only ? "text" : "all"}};
  if (binding.without_head()) choices["head"] = "none";
  if (options.layout == Layout::kHybrid) choices["layout"] = "hybrid";
  return choices;
}

ConvertSummary describe_convert(const ConvertOptions& options, const HfFolder& source,
                                const mappings::Binding& binding, const ConvertPlan& plan) {
  ConvertSummary report;
  report.source = source.path;
  report.source_tensors = source.tensors.size();
  report.source_shards = source.shards.size();
  report.source_bytes = source.total_bytes;
  report.table = binding.table().file;
  report.per_layer_keys = plan.style.per_layer;
  report.hybrid = plan.style.hybrid;
  report.target = options.target;
  report.target_tensors = plan.tensors.size();
  report.target_files = plan.files.size();
  report.target_bytes = std::accumulate(plan.file_sizes.begin(), plan.file_sizes.end(), int64_t{0});
  nlohmann::ordered_json dropped = nlohmann::ordered_json::array();
  for (const DroppedSource& item : plan.match.dropped) {
    const std::string name = printable(source.tensors[static_cast<size_t>(item.tensor)].name);
    report.dropped.push_back({name, item.reason});
    dropped.push_back({{"name", name}, {"reason", item.reason}});
  }
  for (const std::string& prefix : plan.match.mtp_prefixes) {
    report.dropped_mtp.push_back({prefix, tensors_with_prefix(source, prefix).size()});
  }
  report.quantized_tensors = plan.match.scales.size();
  report.main_dtype = plan.main_dtype;
  for (const HfSideFile& file : source.large_side_files) {
    report.warn(fmt::format(
        "{} ({}) is too large to be carried in the sidecar; an export takes it from --reference",
        printable(file.name), size_text(file.size)));
  }
  for (const std::string& text : binding.warnings()) report.warn(text);
  for (const std::string& text : plan.configuration.warnings) report.warn(text);
  if (binding.without_head()) {
    report.warn(
        "no output layer in the source: the checkpoint has none, and its configuration says that "
        "Megatron is to use the embedding instead (hidden states are the model's, logits are not)");
  }
  report.json = {{"command", "convert-hf"},
                 {"source", printable(source.path.string())},
                 {"target", printable(options.target.string())},
                 {"table", report.table},
                 {"dialect", plan.match.dialect + 1},
                 {"dialects", binding.dialect_count()},
                 {"choices", choices_of(options, plan, binding)},
                 {"source_tensors", report.source_tensors},
                 {"source_bytes", report.source_bytes},
                 {"target_tensors", report.target_tensors},
                 {"target_files", report.target_files},
                 {"target_tensor_bytes", plan.output_bytes},
                 {"target_bytes", report.target_bytes},
                 {"dropped", dropped},
                 {"dropped_mtp_tensors", plan.match.mtp.size()},
                 {"quantized_tensors", report.quantized_tensors},
                 {"dry_run", options.dry_run}};
  describe_parts(report, plan.match);
  report.beside = describe_beside_model(report, source);
  return report;
}

}  // namespace bridge
