// The expression language of mapping tables: values of config.json, arithmetic, comparison,
// defaults.
//
//   hidden_size / num_attention_heads      head_dim ?? hidden_size / num_attention_heads
//   !tie_word_embeddings                   rope_parameters.rope_theta ?? rope_theta ?? 10000.0
//   l >= first_k_dense_replace             hidden_act == 'silu'          layer_types[l] == 'x'
//
// Operators, lowest precedence first:
//   1. c ? a : b
//   2. ||                    3. &&          absent and null count as false, numbers as != 0
//   4. == != < <= > >= in    at most one; integers and reals compare by value; a in [list]
//   5. ??                    left value unless absent or null; groups to the right
//   6. + -                   7. * / %       / of integers is exact: a remainder is an error.
//                                           Lists: [0] * 2 + [1] is [0, 0, 1]
//   8. ! -                   9. a.b  a[i]   absent where a is absent or null or has no such entry
//  10. integers, reals, 'text', true, false, null, [lists of scalars], names, (…)
//      count(x, list): how many entries of list equal x; ln(x): the natural logarithm of x > 0
//      sqrt(x): the root of x >= 0; round(x): the nearest integer
//      length(x): the number of a list's or an object's entries
//      letters(text): the list of its characters, which are ASCII
//      join(x): the texts of a list as one
//      ends_with(text, end): whether the text ends so
//      [e for i in n if c]: the list of e for i = 0 .. n - 1, without those where c is false;
//      at most one in an expression
//
// A name is a variable of the scope (dims, layer index) or else a key of the configuration, which
// may have a default that counts where the key is absent, but not where it is null. An absent name
// is an error unless ?? gives a default, or the expression only asks for its truth or compares it
// with null. Values are JSON values. The length of the text, the depth and the size of lists are
// bounded. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mappings {

using Json = nlohmann::ordered_json;

struct Scope {
  const Json* config = nullptr;                         // the object whose keys are names
  std::vector<std::pair<std::string, Json>> variables;  // later ones win
  const Json* defaults = nullptr;                       // of keys that config does not have
};

class Expr {
 public:
  Expr() = default;  // empty: evaluates to true
  // Errors: bridge::Error(kBadInput) with the column.
  static Expr parse(std::string_view text);

  // Errors: kBadInput, "num_hidden_layers is missing", "'a / b': 7 is not a multiple of 2".
  Json evaluate(const Scope& scope) const;
  // Returns an integer. A real that is whole passes.
  int64_t evaluate_int(const Scope& scope) const;
  bool evaluate_bool(const Scope& scope) const;

  const std::string& text() const { return text_; }
  // True if evaluating it may look this name up.
  bool uses(std::string_view name) const;
  bool empty() const { return root_ == nullptr; }

  struct Node;  // in expr_node.h

 private:
  std::string text_;
  std::shared_ptr<const Node> root_;
};

}  // namespace mappings
