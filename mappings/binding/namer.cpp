#include "mappings/binding/namer.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"

namespace mappings {

Namer::Namer(const Table& table, size_t dialect, const Family* family)
    : dialect_(table.dialects.at(dialect)) {
  if (family == nullptr) return;
  megatron_prefixes_.push_back(split_pattern(family->megatron));
  for (const std::string& alias : family->aliases) {
    megatron_prefixes_.push_back(split_pattern(alias));
  }
  hf_prefix_ = split_pattern(family->hf);
  for (const PatternPiece& piece : hf_prefix_) {
    if (piece.placeholder && dialect_text(piece.text) == nullptr) {
      indexes_[piece.text] = Expr::parse(piece.text);
    }
  }
}

void Namer::enter_layer(int64_t layer, const Scope& scope) {
  megatron_layers_.clear();
  for (const auto& prefix : megatron_prefixes_) {
    megatron_layers_.push_back(
        fill_pattern(prefix, [&](const std::string&) { return std::to_string(layer); }));
  }
  hf_layer_ = fill_pattern(hf_prefix_, [&](const std::string& name) {
    if (const std::string* text = dialect_text(name)) return *text;
    const int64_t index = indexes_.at(name).evaluate_int(scope);
    if (index < 0) bridge::bad_input(fmt::format("layer index {} is negative", index));
    return std::to_string(index);
  });
}

Name Namer::fill(const std::string& pattern, size_t prefix) const {
  Name name;
  std::string* end = &name.before;
  for (const PatternPiece& piece : split_pattern(pattern)) {
    if (!piece.placeholder) {
      *end += piece.text;
    } else if (piece.text == "L") {
      *end += megatron_layers_[prefix];
    } else if (piece.text == "H") {
      *end += hf_layer_;
    } else if (const std::string* text = dialect_text(piece.text)) {
      *end += *text;
    } else {
      name.per_expert = true;
      if (piece.text != "e") name.number = Expr::parse(piece.text);
      end = &name.after;
    }
  }
  return name;
}

size_t Namer::prefix_count() const {
  return std::max<size_t>(1, megatron_prefixes_.size());
}

const std::string* Namer::dialect_text(const std::string& name) const {
  const auto it = std::find_if(dialect_.begin(), dialect_.end(),
                               [&](const auto& entry) { return entry.first == name; });
  return it == dialect_.end() ? nullptr : &it->second;
}

}  // namespace mappings
