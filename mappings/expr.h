// The expression language of mapping tables: values of config.json, arithmetic, comparison, defaults.
//
//   hidden_size / num_attention_heads      head_dim ?? hidden_size / num_attention_heads
//   !tie_word_embeddings                   rope_parameters.rope_theta ?? rope_theta ?? 10000.0
//   l >= first_k_dense_replace             hidden_act == 'silu'          layer_types[l] == 'full_attention'
//
// Lowest to highest: ?: (conditional), ||, &&, == != < <= > >=, + -, * / (exact for integers: a remainder is an error) %, unary ! -,
// ?? (left value unless absent or null), then literals (integers, reals, 'text', true, false, null, [lists]), names, a.b, a[i], (…).
// A name is a variable of the scope (dims, layer index) or else a key of config.json; an absent one is an
// error unless ?? gives a default. Values are JSON values. Pure; thread-safe.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mappings {

using Json = nlohmann::ordered_json;

struct Scope {
  const Json* config = nullptr;  // the object whose keys are names
  std::vector<std::pair<std::string, Json>> variables;  // later ones win
};

class Expr {
 public:
  Expr() = default;  // empty: evaluates to true
  // Errors: bridge::Error(kBadInput) with the column.
  static Expr parse(std::string_view text);
  Json evaluate(const Scope& scope) const;
  int64_t evaluate_int(const Scope& scope) const;  // kBadInput unless an integer (a real that is whole passes)
  bool evaluate_bool(const Scope& scope) const;    // null and absent are false; numbers by != 0
  const std::string& text() const { return text_; }
  bool empty() const { return root_ == nullptr; }

 private:
  struct Node;
  std::string text_;
  std::shared_ptr<const Node> root_;
};

}  // namespace mappings
