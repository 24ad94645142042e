#include "bridge/convert/plan/written_dtype.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "bridge/io/base/json_strict.h"

namespace bridge {
namespace {

// Returns the dtype that holds most bytes of the plain floating outputs. of(output) is the dtype of
// an output; nullopt: not known.
template <typename Of>
std::optional<Dtype> main_dtype(const ExportPlan& plan, const Of& of) {
  std::map<Dtype, int64_t> bytes;
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.requantize) continue;
    const std::optional<Dtype> dtype = of(plan.outputs[static_cast<size_t>(transfer.target)]);
    if (dtype && is_plain_float(*dtype)) bytes[*dtype] += bytes_of(*dtype, transfer.end);
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? std::nullopt : std::optional(most->first);
}

// True if config.json and the weights that tell dtypes come from one folder.
bool says_it_of_its_own_weights(const Origin& origin) {
  return origin.layout() != nullptr && origin.from_reference() == origin.reference.has_value();
}

}  // namespace

std::optional<Dtype> dtype_to_name(const ExportPlan& plan, const Origin& origin,
                                   const std::string& config_text, const std::string& root) {
  const auto written = main_dtype(
      plan, [](const ExportPlan::Output& output) { return std::optional(output.dtype); });
  if (!written) return std::nullopt;
  const auto before = main_dtype(plan, [&](const ExportPlan::Output& output) {
    const HfTensor* tensor = origin.layout() ? origin.layout()->find(output.name) : nullptr;
    return tensor == nullptr ? std::nullopt : std::optional(tensor->dtype);
  });
  if (says_it_of_its_own_weights(origin) && before == written) return std::nullopt;
  const nlohmann::ordered_json config = parse_json(config_text, {.non_finite = true});
  for (const nlohmann::ordered_json* object :
       {&config, root.empty() || !config.contains(root) ? &config : &config[root]}) {
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto it = object->find(key);
      if (it != object->end() && it->is_string() && *it != torch_name(*written)) return written;
    }
  }
  return std::nullopt;
}

}  // namespace bridge
