// Which weights a configuration of compressed-tensors quantizes, and how, by the modules that they
// are of:
//
//   1. ignored   a module that an entry of "ignore" matches is in no group
//   2. targets   else it is in the group of the first target that matches it: its own name, then
//                regular expressions in alphabetical order, then the name of its class. Of groups
//                with the same target the last one counts
//
// An entry matches a module if it is its name ("lm_head"), the name of its class ("Linear"), or
// "re:" and a regular expression of Python's that matches at the beginning of its name.
// Truth: compressed_tensors/utils/match.py (match_named_modules, match_targets) and
// quantization/lifecycle/apply.py (apply_quantization_config).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/base/python_regex.h"
#include "mappings/expr/expr.h"

namespace mappings {

class QuantizationTargets {
 public:
  static constexpr int32_t kNone = -1;

  // groups: an object of objects with a list "targets"; ignore: a list or null. Errors: kBadInput;
  // kUnsupported for a group that is only named by its preset, and for a pattern that is not read.
  QuantizationTargets(const Json& groups, const Json& ignore);

  struct Match {
    int32_t group = kNone;  // in the order of the file
    std::string why;        // "config_groups.group_0 has the target 'Linear'"
  };
  // Returns the group of a linear module ("model.layers.0.mlp.up_proj"). Thread-safe.
  Match of(std::string_view module) const;

 private:
  using Names = std::map<std::string, int32_t, std::less<>>;  // of groups
  using Patterns = std::vector<std::pair<std::string, bridge::PythonRegex>>;

  std::string has_target(int32_t group, std::string_view target) const;

  std::vector<std::string> group_names_;
  Names targets_;      // of every kind
  Patterns patterns_;  // those that are regular expressions
  std::set<std::string, std::less<>> ignored_;
  Patterns ignored_patterns_;
};

// The module of a tensor: "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string_view module_of(std::string_view tensor);

}  // namespace mappings
