// The concrete names of a row, drop or module: patterns with the prefixes of one layer filled in
// and the position of the expert's number left open. Internal to mappings.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mappings/table/pattern.h"
#include "mappings/table/table.h"

namespace mappings {

// A name in which the expert's number, if it has one, is still open.
struct Name {
  std::string before;
  std::string after;
  bool per_expert = false;
  Expr number;  // the number that stands for expert e; empty: e itself

  std::string text(int64_t expert) const {
    return per_expert ? before + std::to_string(expert) + after : before;
  }
};

// The names of one row, drop or module, layer after layer. The table must outlive it.
class Namer {
 public:
  Namer(const Table& table, size_t dialect, const Family* family);

  // scope must contain the layer index l.
  void enter_layer(int64_t layer, const Scope& scope);
  const std::string& hf_layer() const { return hf_layer_; }

  // prefix: 0 for the family's own Megatron prefix, 1 for its first alias, ...
  Name fill(const std::string& pattern, size_t prefix = 0) const;
  size_t prefix_count() const;

 private:
  const std::string* dialect_text(const std::string& name) const;

  const std::vector<std::pair<std::string, std::string>>& dialect_;
  std::vector<std::vector<PatternPiece>> megatron_prefixes_;
  std::vector<PatternPiece> hf_prefix_;
  std::map<std::string, Expr> indexes_;
  std::vector<std::string> megatron_layers_;
  std::string hf_layer_;
};

}  // namespace mappings
