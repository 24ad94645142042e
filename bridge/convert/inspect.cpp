#include "bridge/convert/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

#include "bridge/convert/beside_model.h"
#include "bridge/convert/inspect_flags.h"
#include "bridge/convert/match/model_binding.h"
#include "bridge/io/base/json_strict.h"
#include "bridge/io/sidecar/sidecar.h"
#include "bridge/io/torch_dist/torch_dist.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

struct Seen {
  std::string name;
  Dtype dtype;
  Shape shape;
};

// "model.layers.3.mlp.x" -> "model.layers.*.mlp.x", so that the layers of a model share a line.
std::string family_of(std::string_view name) {
  std::string family;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view component = name.substr(begin, end - begin);
    const bool number =
        !component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos;
    if (begin > 0) family += '.';
    family += number ? "*" : std::string(component);
    begin = end + 1;
  }
  return family;
}

void list_tensors(const std::vector<Seen>& tensors, const InspectOptions& options, Report& report) {
  struct Group {
    const Seen* first;
    int64_t count = 0;
    int64_t bytes = 0;
  };
  std::map<std::string, Group> groups;
  std::vector<std::string> order;
  std::map<std::string_view, std::pair<int64_t, int64_t>> by_dtype;  // tensors, bytes
  int64_t bytes = 0;
  Json list = Json::array();
  for (const Seen& tensor : tensors) {
    const int64_t size = byte_size(tensor.dtype, tensor.shape);
    bytes += size;
    auto& of_dtype = by_dtype[safetensors_name(tensor.dtype)];
    ++of_dtype.first;
    of_dtype.second += size;
    std::string key =
        fmt::format("{} {} {}", options.every_tensor ? tensor.name : family_of(tensor.name),
                    safetensors_name(tensor.dtype), shape_text(tensor.shape));
    const auto [it, fresh] = groups.try_emplace(key, Group{&tensor});
    if (fresh) order.push_back(key);
    ++it->second.count;
    it->second.bytes += size;
    if (!options.as_json) continue;
    list.push_back({{"name", printable(tensor.name)},
                    {"dtype", safetensors_name(tensor.dtype)},
                    {"shape", tensor.shape},
                    {"bytes", size}});
  }
  std::vector<std::string> dtypes;
  Json dtype_counts = Json::object();
  for (const auto& [name, counts] : by_dtype) {
    dtype_counts[std::string(name)] = {{"tensors", counts.first}, {"bytes", counts.second}};
    dtypes.push_back(fmt::format("{} {} ({})", counts.first, name, size_text(counts.second)));
  }
  report.lines.push_back(fmt::format("tensors     {}, {}: {}", tensors.size(), size_text(bytes),
                                     fmt::join(dtypes, ", ")));
  report.json["tensor_count"] = tensors.size();
  if (options.as_json) report.json["tensors"] = std::move(list);
  report.json["bytes"] = bytes;
  report.json["dtypes"] = std::move(dtype_counts);

  size_t widest = 0;
  const auto shown = [&](const Group& group) {
    return printable(group.count > 1 ? family_of(group.first->name) : group.first->name);
  };
  for (const auto& [key, group] : groups) widest = std::max(widest, shown(group).size());
  report.lines.emplace_back();
  report.lines.push_back(fmt::format("{:<{}}  {:>6}  {:<8}  {:<22}  {:>10}", "name", widest,
                                     "count", "dtype", "shape", "bytes"));
  for (const std::string& key : order) {
    const Group& group = groups.at(key);
    report.lines.push_back(fmt::format("{:<{}}  {:>6}  {:<8}  {:<22}  {:>10}", shown(group), widest,
                                       group.count, safetensors_name(group.first->dtype),
                                       shape_text(group.first->shape), size_text(group.bytes)));
  }
}

std::string architecture_of(std::string_view config_text) {
  const Json config = parse_json(config_text, {.non_finite = true});
  if (!config.is_object()) return "not an object";
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array() && !names->empty() && (*names)[0].is_string()) {
    return printable((*names)[0].get<std::string>());
  }
  return "no architectures entry";
}

Report inspect_hf(FileSystem& fs, const InspectOptions& options, MemoryBudget& budget) {
  const HfFolder folder = open_hf_folder(fs, options.path, budget);
  Report report;
  report.json = {{"kind", "hugging-face"}, {"path", printable(folder.path.string())}};
  report.lines.push_back(
      fmt::format("kind        Hugging Face folder {}", printable(folder.path.string())));
  if (fs.stat(folder.path / "config.json")) {
    const std::string architecture =
        with_context("config.json", [&] { return architecture_of(read_config(fs, folder.path)); });
    report.lines.push_back("model       " + architecture);
    report.json["architecture"] = architecture;
  }
  report.lines.push_back(fmt::format("shards      {}{}", folder.shards.size(),
                                     folder.has_index ? ", with an index" : ""));
  report.json["shards"] = folder.shards.size();
  report.json["has_index"] = folder.has_index;
  std::vector<std::string> names;
  for (const HfSideFile& file : folder.side_files) names.push_back(printable(file.name));
  report.lines.push_back(fmt::format("side files  {}", fmt::join(names, ", ")));
  report.json["side_files"] = names;
  describe_beside_model(report, folder);
  std::vector<Seen> tensors;
  for (const HfTensor& tensor : folder.tensors) {
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  list_tensors(tensors, options, report);
  return report;
}

std::string scalar_text(const PickleNode* node) {
  if (node == nullptr) return "absent";
  switch (node->kind) {
    case PickleNode::Kind::kNone:
      return "None";
    case PickleNode::Kind::kBool:
      return node->boolean ? "True" : "False";
    case PickleNode::Kind::kInt:
      return std::to_string(node->integer);
    case PickleNode::Kind::kReal:
      return fmt::format("{}", node->real);
    case PickleNode::Kind::kString:
      return printable(node->text);
    default:
      return "(a structure)";
  }
}

Json scalar_json(const PickleNode* node) {
  if (node != nullptr && node->kind == PickleNode::Kind::kInt) return node->integer;
  if (node != nullptr && node->kind == PickleNode::Kind::kReal) return node->real;
  return node == nullptr ? Json() : Json(scalar_text(node));
}

Report inspect_megatron(FileSystem& fs, const InspectOptions& options, MemoryBudget& budget) {
  const MegatronFolder folder = open_megatron(fs, options.path, options.iteration, budget);
  Report report;
  report.json = {{"kind", "megatron"}, {"path", printable(folder.dist_dir.string())}};
  report.lines.push_back(fmt::format("kind        Megatron torch_dist checkpoint {}",
                                     printable(folder.dist_dir.string())));
  if (!folder.iteration.empty()) {
    report.lines.push_back("iteration   " + printable(folder.iteration));
    report.json["iteration"] = printable(folder.iteration);
  }
  if (!folder.key_prefix.empty()) {
    report.lines.push_back(fmt::format(
        "keys        begin with {} (a checkpoint of NeMo), left out below", folder.key_prefix));
    report.json["key_prefix"] = folder.key_prefix;
  }
  if (folder.common) {
    const PickleNode* args = folder.common->get("args");
    report.lines.push_back(fmt::format("content     checkpoint_version {}, iteration {}, args {}",
                                       scalar_text(folder.common->get("checkpoint_version")),
                                       scalar_text(folder.common->get("iteration")),
                                       args == nullptr ? "absent" : "present"));
    report.json["content"] = {
        {"checkpoint_version", scalar_json(folder.common->get("checkpoint_version"))},
        {"iteration", scalar_json(folder.common->get("iteration"))},
        {"args", args != nullptr}};
  }
  report.lines.push_back(fmt::format(
      "training    {} tensors and {} objects that are not weights (optimizer, RNG, _extra_state)",
      folder.metadata.dropped_tensors, folder.metadata.dropped_objects));
  report.json["training_tensors"] = folder.metadata.dropped_tensors;
  report.json["objects"] = folder.metadata.dropped_objects;
  const bool sidecar = fs.stat(folder.root / kSidecarFolder).has_value();
  report.lines.push_back(fmt::format(
      "files       {} data files, run_config.yaml {}, sidecar {}", folder.metadata.files.size(),
      folder.has_run_config ? "present" : "absent", sidecar ? "present" : "absent"));
  report.json["data_files"] = folder.metadata.files.size();
  report.json["run_config"] = folder.has_run_config;
  report.json["sidecar"] = sidecar;
  std::vector<Seen> tensors;
  for (const DcpTensor& tensor : folder.metadata.tensors) {
    tensors.push_back({tensor.key, tensor.dtype, tensor.shape});
  }
  list_tensors(tensors, options, report);
  return report;
}

}  // namespace

Report inspect(FileSystem& fs, const InspectOptions& options) {
  MemoryBudget budget(options.memory);
  if (!fs.stat(options.path)) {
    bad_input(printable(options.path.string()) + ": no such file or folder");
  }
  if (options.flags) return inspect_flags(fs, options, budget);
  return looks_like_megatron(fs, options.path) ? inspect_megatron(fs, options, budget)
                                               : inspect_hf(fs, options, budget);
}

}  // namespace bridge
