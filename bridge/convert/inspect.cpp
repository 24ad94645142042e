#include "bridge/convert/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

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

// Turns "model.layers.3.mlp.x" into "model.layers.*.mlp.x", so that the layers share a line.
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

// "model.layers.3" of "model.layers.3.mlp.x"; empty for a name without number.
std::string layer_of(std::string_view name) {
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view component = name.substr(begin, end - begin);
    if (!component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos) {
      return std::string(name.substr(0, end));
    }
    begin = end + 1;
  }
  return {};
}

// What a page shows of many tensors: sums over families and layers, which stay small.
void add_sums(const std::vector<Seen>& tensors, InspectSummary& report) {
  Json families = Json::array();
  for (const InspectSummary::Line& line : report.lines) {
    families.push_back({{"name", line.name},
                        {"tensors", line.tensors},
                        {"dtype", safetensors_name(line.dtype)},
                        {"shape", line.shape},
                        {"bytes", line.bytes}});
  }
  Json layers = Json::array();
  std::map<std::string, size_t> places;  // indices into layers
  for (const Seen& tensor : tensors) {
    const std::string layer = printable(layer_of(tensor.name));
    const auto [it, fresh] = places.try_emplace(layer, layers.size());
    if (fresh) layers.push_back({{"name", layer}, {"tensors", 0}, {"bytes", 0}});
    Json& sums = layers[it->second];
    sums["tensors"] = sums["tensors"].get<int64_t>() + 1;
    sums["bytes"] = sums["bytes"].get<int64_t>() + byte_size(tensor.dtype, tensor.shape);
  }
  report.json["families"] = std::move(families);
  report.json["layers"] = std::move(layers);
}

void list_tensors(const std::vector<Seen>& tensors, const InspectOptions& options,
                  InspectSummary& report) {
  std::map<std::string, size_t> groups;  // the index of the line
  std::map<std::string_view, InspectSummary::OfDtype> by_dtype;
  Json list = Json::array();
  for (const Seen& tensor : tensors) {
    const int64_t size = byte_size(tensor.dtype, tensor.shape);
    const std::string_view dtype = safetensors_name(tensor.dtype);
    report.bytes += size;
    InspectSummary::OfDtype& of_dtype =
        by_dtype.try_emplace(dtype, InspectSummary::OfDtype{dtype, 0, 0}).first->second;
    ++of_dtype.tensors;
    of_dtype.bytes += size;
    const std::string family = family_of(tensor.name);
    const std::string key = fmt::format("{} {} {}", options.every_tensor ? tensor.name : family,
                                        dtype, shape_text(tensor.shape));
    const auto [it, fresh] = groups.try_emplace(key, report.lines.size());
    if (fresh) report.lines.push_back({printable(tensor.name), 0, tensor.dtype, tensor.shape, 0});
    InspectSummary::Line& line = report.lines[it->second];
    if (++line.tensors == 2) line.name = printable(family);
    line.bytes += size;
    if (!options.as_json) continue;
    list.push_back({{"name", printable(tensor.name)},
                    {"dtype", dtype},
                    {"shape", tensor.shape},
                    {"bytes", size}});
  }
  Json dtypes = Json::object();
  for (const auto& [name, of_dtype] : by_dtype) {
    report.by_dtype.push_back(of_dtype);
    dtypes[std::string(name)] = {{"tensors", of_dtype.tensors}, {"bytes", of_dtype.bytes}};
  }
  report.tensors = tensors.size();
  report.json["tensor_count"] = report.tensors;
  if (options.as_json) report.json["tensors"] = std::move(list);
  report.json["bytes"] = report.bytes;
  report.json["dtypes"] = std::move(dtypes);
  if (options.for_page) add_sums(tensors, report);
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

InspectSummary inspect_hf(FileSystem& fs, const InspectOptions& options, MemoryBudget& budget) {
  const HfFolder folder = open_hf_folder(fs, options.path, budget);
  InspectSummary report;
  report.path = folder.path;
  HuggingFaceFacts found;
  report.json = {{"kind", "hugging-face"}, {"path", printable(folder.path.string())}};
  if (fs.stat(folder.path / "config.json")) {
    found.architecture =
        with_context("config.json", [&] { return architecture_of(read_config(fs, folder.path)); });
    report.json["architecture"] = found.architecture;
  }
  found.shards = folder.shards.size();
  found.has_index = folder.has_index;
  for (const HfSideFile& file : folder.side_files) found.side_files.push_back(printable(file.name));
  report.json["shards"] = found.shards;
  report.json["has_index"] = found.has_index;
  report.json["side_files"] = found.side_files;
  found.beside = describe_beside_model(report, folder);
  report.facts = std::move(found);
  std::vector<Seen> tensors;
  for (const HfTensor& tensor : folder.tensors) {
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  if (options.for_page) {
    for (const HfShard& shard : folder.shards) {
      report.json["files"].push_back({{"name", printable(shard.name)}, {"bytes", shard.file_size}});
    }
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

InspectSummary inspect_megatron(FileSystem& fs, const InspectOptions& options,
                                MemoryBudget& budget) {
  const MegatronFolder folder = open_megatron(fs, options.path, options.iteration, budget);
  InspectSummary report;
  report.path = folder.dist_dir;
  report.json = {{"kind", "megatron"}, {"path", printable(folder.dist_dir.string())}};
  MegatronFacts found;
  found.iteration = folder.iteration;
  found.key_prefix = folder.key_prefix;
  if (!found.iteration.empty()) report.json["iteration"] = printable(found.iteration);
  if (!found.key_prefix.empty()) report.json["key_prefix"] = found.key_prefix;
  if (folder.common) {
    const PickleNode* version = folder.common->get("checkpoint_version");
    const PickleNode* iteration = folder.common->get("iteration");
    const bool has_args = folder.common->get("args") != nullptr;
    found.common = {scalar_text(version), scalar_text(iteration), has_args};
    report.json["content"] = {{"checkpoint_version", scalar_json(version)},
                              {"iteration", scalar_json(iteration)},
                              {"args", has_args}};
  }
  found.training_tensors = folder.metadata.dropped_tensors;
  found.objects = folder.metadata.dropped_objects;
  found.data_files = folder.metadata.files.size();
  found.has_run_config = folder.has_run_config;
  found.has_sidecar = fs.stat(folder.root / kSidecarFolder).has_value();
  report.json["training_tensors"] = found.training_tensors;
  report.json["objects"] = found.objects;
  report.json["data_files"] = found.data_files;
  report.json["run_config"] = found.has_run_config;
  report.json["sidecar"] = found.has_sidecar;
  report.facts = std::move(found);
  std::vector<Seen> tensors;
  for (const DcpTensor& tensor : folder.metadata.tensors) {
    tensors.push_back({tensor.key, tensor.dtype, tensor.shape});
  }
  if (options.for_page) {
    for (const std::string& file : folder.metadata.files) {
      const std::optional<Stat> there = fs.stat(folder.dist_dir / file);
      report.json["files"].push_back(
          {{"name", printable(file)}, {"bytes", there ? there->size : 0}});
    }
  }
  list_tensors(tensors, options, report);
  return report;
}

}  // namespace

InspectSummary inspect(FileSystem& fs, const InspectOptions& options) {
  MemoryBudget budget(options.memory);
  if (!fs.stat(options.path)) {
    bad_input(printable(options.path.string()) + ": no such file or folder");
  }
  return looks_like_megatron(fs, options.path) ? inspect_megatron(fs, options, budget)
                                               : inspect_hf(fs, options, budget);
}

}  // namespace bridge
