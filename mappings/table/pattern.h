// Names with {placeholders}: "{H}.mlp.gate_proj.weight", "model.layers.{l + num_hidden_layers}".
// Braces do not nest and cannot be escaped, because no tensor name contains one. Internal to
// mappings.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace mappings {

struct PatternPiece {
  std::string text;  // literal text, or the text between the braces
  bool placeholder = false;
};

// Errors: kBadInput for an unmatched brace or an empty placeholder.
std::vector<PatternPiece> split_pattern(std::string_view pattern);

// The text with each placeholder replaced by what resolve returns for it.
std::string fill_pattern(const std::vector<PatternPiece>& pieces,
                         const std::function<std::string(const std::string&)>& resolve);

}  // namespace mappings
