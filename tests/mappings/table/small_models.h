// Released configurations made small or changed in one key, bound to their table.
#pragma once

#include <set>
#include <string>

#include "mappings/binding/binding.h"
#include "mappings/table/registry.h"
#include "mappings/table/table.h"

namespace mappings {

inline Json without(Json config, const std::string& key) {
  config.erase(key);
  return config;
}

inline Json with(Json config, const std::string& key, const std::string& value) {
  config[key] = Json::parse(value);
  return config;
}

inline Json with_few_experts(Json config) {
  for (const char* experts : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    if (config.contains(experts)) config[experts] = 16;
  }
  return config;
}

// A small model of the same kind.
inline Json small(const char* released) {
  Json config = with_few_experts(Json::parse(released));
  config["num_hidden_layers"] = 4;
  return config;
}

inline Binding bound(const Json& config, BindingOptions options = {}) {
  return Binding(find_table(config, ""), config, options);
}

inline std::set<std::string> megatron_names(const Binding& binding, bool local,
                                            const std::string& under) {
  std::set<std::string> names;
  binding.for_each_tensor(0, local, [&](const LogicalTensor& tensor) {
    if (tensor.name.starts_with(under)) names.insert(tensor.name.substr(under.size()));
  });
  return names;
}

}  // namespace mappings
