#include "bridge/convert/inspect_flags.h"

#include "bridge/convert/match/model_binding.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/output_layer.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/torch_dist/torch_dist.h"
#include "mappings/megatron/megatron_args.h"

namespace bridge {
namespace {

using mappings::Json;

// Converts numbers, text and lists of them; returns null for anything else.
Json plain_value(const PickleNode& node) {
  switch (node.kind) {
    case PickleNode::Kind::kBool:
      return node.boolean;
    case PickleNode::Kind::kInt:
      return node.integer;
    case PickleNode::Kind::kReal:
      return node.real;
    case PickleNode::Kind::kString:
      return node.text;
    case PickleNode::Kind::kList:
    case PickleNode::Kind::kTuple: {
      Json list = Json::array();
      for (const PickleValue& item : node.items) list.push_back(plain_value(*item));
      return list;
    }
    default:
      return nullptr;
  }
}

// Returns the state of an argparse.Namespace, or the dict itself; nullptr: args is neither.
const PickleNode* attributes_of(const PickleNode* args) {
  if (args == nullptr) return nullptr;
  if (args->kind == PickleNode::Kind::kObject && args->items.size() > 2)
    args = args->items[2].get();
  return args->kind == PickleNode::Kind::kDict ? args : nullptr;
}

Json arguments_of(const MegatronFolder& folder) {
  const PickleNode* args = attributes_of(folder.common ? folder.common->get("args") : nullptr);
  if (args == nullptr) {
    bad_input(printable(folder.dist_dir.string()) + ": no arguments in the common state",
              folder.has_run_config
                  ? "Megatron-Bridge reads its run_config.yaml; Megatron-LM needs every flag"
                  : "");
  }
  Json json = Json::object();
  for (size_t i = 0; i + 1 < args->items.size(); i += 2) {
    if (args->items[i]->kind == PickleNode::Kind::kString) {
      json[args->items[i]->text] = plain_value(*args->items[i + 1]);
    }
  }
  return json;
}

Json arguments_of(FileSystem& fs, const HfFolder& folder, const InspectOptions& options) {
  const BoundModel model = bind_model(
      read_config(fs, folder.path), (folder.path / "config.json").string(),
      choose_table(fs, options, nullptr), {},
      [&](const mappings::Binding& binding) { return found_mtp_depths(folder, binding); },
      [&](const mappings::Binding& binding) { return lacks_output_layer(folder, binding); });
  return mappings::megatron_args(model.binding.megatron_config("bf16"), {});
}

}  // namespace

FlagsSummary inspect_flags(FileSystem& fs, const InspectOptions& options) {
  MemoryBudget budget(options.memory);
  const bool megatron = looks_like_megatron(fs, options.path);
  const Json args = megatron
                        ? arguments_of(open_megatron(fs, options.path, options.iteration, budget))
                        : arguments_of(fs, open_hf_reference(fs, options.path, budget), options);
  FlagsSummary report;
  report.found = mappings::megatron_flags(args);
  report.json = {
      {"flags", report.found.flags}, {"no_flag", Json::object()}, {"provider", Json::object()}};
  for (const auto& [name, value] : report.found.no_flag) report.json["no_flag"][name] = value;
  for (const auto& [name, value] : report.found.provider) report.json["provider"][name] = value;
  return report;
}

}  // namespace bridge
