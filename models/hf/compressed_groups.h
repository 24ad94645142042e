// The config_groups of a configuration of compressed-tensors: how each linear layer's weight is
// stored. Written without the converter's reading of the same (mappings/), so that a mistake in
// either shows.
//
// A linear layer that something in "ignore" names is as it was. Another is in the group whose
// "targets" name it. A text names a layer that is called so, "re:" and an expression one that the
// expression matches from its start, and "Linear" all of them. Where several targets name one, the
// layer's own name counts before expressions, an expression before others that come after it in the
// alphabet, and "Linear" last.
// Truth: compressed_tensors.utils.match (is_match, match_targets).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/python_regex.h"
#include "models/weights/settings.h"

namespace models {

// Which layers a text of "targets" or "ignore" names.
class LayerPattern {
 public:
  explicit LayerPattern(std::string text);
  const std::string& text() const { return text_; }
  bool is_expression() const { return expression_.has_value(); }
  bool names_every_layer() const { return text_ == "Linear"; }
  bool names(std::string_view layer) const;

 private:
  std::string text_;
  std::optional<bridge::PythonRegex> expression_;
};

class CompressedGroups {
 public:
  // quantization: the object quantization_config. Errors: kUnsupported, kBadInput by name.
  explicit CompressedGroups(const Settings& quantization);

  struct Found {
    std::optional<size_t> group;  // in the order of config.json; nullopt: the layer is not in any
    std::string because;
  };
  Found find(std::string_view layer) const;
  // The "weights" of a group; nullopt: its weights are as they were.
  const std::vector<std::optional<Settings>>& weights() const { return weights_; }

 private:
  struct Target {
    LayerPattern pattern;
    size_t group;
  };
  std::vector<Target> targets_;  // the first that names a layer counts
  std::vector<LayerPattern> ignored_;
  std::vector<std::string> names_;
  std::vector<std::optional<Settings>> weights_;
};

}  // namespace models
