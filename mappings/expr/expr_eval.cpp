// Evaluates expressions: walks the syntax tree and looks names up. expr.h defines the semantics,
// and expr_values.h has what operators and functions compute. Values of the configuration are
// passed by pointer, so that a.b.c copies only its result.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "bridge/io/base/error.h"
#include "mappings/expr/expr_node.h"
#include "mappings/expr/expr_values.h"

namespace mappings {
namespace {

using Node = Expr::Node;
using bridge::bad_input;

// A value of the configuration, a value of its own, or an absent value with the path that was
// looked up.
struct Value {
  const Json* borrowed = nullptr;
  Json own;
  std::string absent_path;

  static Value of(Json json) { return {nullptr, std::move(json), {}}; }
  static Value at(const Json& json) { return {&json, {}, {}}; }
  static Value absent(std::string path) { return {nullptr, {}, std::move(path)}; }

  const Json& get() const { return borrowed != nullptr ? *borrowed : own; }
  bool is_absent() const { return !absent_path.empty(); }
  bool is_nothing() const { return is_absent() || get().is_null(); }
};

const Json& present(const Value& value) {
  if (value.is_absent()) {
    bad_input(fmt::format("{} is missing", bridge::printable(value.absent_path)));
  }
  return value.get();
}

bool truth(const Value& value) {
  if (value.is_nothing()) return false;
  const Json& json = value.get();
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number()) return json.get<double>() != 0;
  bad_input(fmt::format("{} is neither true nor false", shown(json)));
}

class Evaluator {
 public:
  explicit Evaluator(const Scope& scope) : scope_(scope) {}

  Value visit(const Node& node) const {
    switch (node.kind) {
      case Node::Kind::kLiteral:
        return Value::at(node.literal);
      case Node::Kind::kName:
        return look_up(node.name);
      case Node::Kind::kMember:
        return member(visit(*node.operands[0]), node.name);
      case Node::Kind::kIndex:
        return index(visit(*node.operands[0]), visit(*node.operands[1]));
      case Node::Kind::kList:
        return list(node);
      case Node::Kind::kListFor:
        return list_for(node);
      case Node::Kind::kCount:
        return Value::of(count_of(present(visit(*node.operands[0])),
                                  present(visit(*node.operands[1])), "count"));
      case Node::Kind::kEndsWith:
        return Value::of(text_of(visit(*node.operands[0]), "ends_with")
                             .ends_with(text_of(visit(*node.operands[1]), "ends_with")));
      case Node::Kind::kLetters:
        return Value::of(letters_of(text_of(visit(*node.operands[0]), "letters")));
      case Node::Kind::kLength:
        return Value::of(length_of(present(visit(*node.operands[0]))));
      case Node::Kind::kJoin:
        return Value::of(joined_texts(present(visit(*node.operands[0]))));
      case Node::Kind::kLn:
        return Value::of(logarithm_of(present(visit(*node.operands[0]))));
      case Node::Kind::kSqrt:
        return Value::of(root_of(present(visit(*node.operands[0]))));
      case Node::Kind::kRound:
        return Value::of(rounded(present(visit(*node.operands[0]))));
      case Node::Kind::kUnary:
        return unary(node);
      case Node::Kind::kBinary:
        return binary(node);
      case Node::Kind::kConditional:
        return visit(*node.operands[truth(visit(*node.operands[0])) ? 1 : 2]);
    }
    bridge::internal_error("expression node of unknown kind");
  }

 private:
  Value look_up(const std::string& name) const {
    for (auto it = scope_.variables.rbegin(); it != scope_.variables.rend(); ++it) {
      if (it->first == name) return Value::at(it->second);
    }
    for (const Json* const keys : {scope_.config, scope_.defaults}) {
      if (keys == nullptr || !keys->is_object()) continue;
      const Json::const_iterator it = keys->find(name);
      if (it != keys->end()) return Value::at(*it);
    }
    return Value::absent(name);
  }

  // The entry may live inside an owned value; then it is copied before the owner is destroyed.
  static Value entry(const Value& owner, const Json& json) {
    return owner.borrowed != nullptr ? Value::at(json) : Value::of(json);
  }

  static Value member(const Value& owner, const std::string& name) {
    if (owner.is_absent()) return Value::absent(owner.absent_path + "." + name);
    const Json& json = owner.get();
    if (json.is_null()) return Value::absent(name);
    if (!json.is_object()) {
      bad_input(fmt::format(".{} of {}, which is no object", name, shown(json)));
    }
    const Json::const_iterator it = json.find(name);
    return it == json.end() ? Value::absent(name) : entry(owner, *it);
  }

  static Value index(const Value& owner, const Value& position) {
    const Json& at = present(position);
    if (!is_integer(at)) bad_input(fmt::format("index {} is not an integer", shown(at)));
    const int64_t i = integer_of(at);
    if (owner.is_absent()) return Value::absent(fmt::format("{}[{}]", owner.absent_path, i));
    const Json& json = owner.get();
    if (json.is_null()) return Value::absent(fmt::format("[{}]", i));
    if (!json.is_array()) bad_input(fmt::format("[{}] of {}, which is no list", i, shown(json)));
    if (i < 0 || i >= static_cast<int64_t>(json.size())) {
      return Value::absent(fmt::format("entry {} of a list of {}", i, json.size()));
    }
    return entry(owner, json[static_cast<size_t>(i)]);
  }

  Value list(const Node& node) const {
    Json result = Json::array();
    for (const auto& operand : node.operands) {
      const Value value = visit(*operand);
      const Json& item = present(value);
      if (item.is_structured()) bad_input("a list can hold scalars only");
      result.push_back(item);
    }
    return Value::of(std::move(result));
  }

  Value list_for(const Node& node) const {
    const Value counted = visit(*node.operands[1]);
    const Json& count = present(counted);
    if (!is_integer(count) || integer_of(count) < 0 ||
        integer_of(count) > static_cast<int64_t>(kLongestList)) {
      bad_input(fmt::format("a list of {} entries (0 to {})", shown(count), kLongestList));
    }
    Scope scope = scope_;
    scope.variables.emplace_back(node.name, 0);
    Json result = Json::array();
    for (int64_t i = 0; i < integer_of(count); ++i) {
      scope.variables.back().second = i;
      const Evaluator evaluator(scope);
      if (node.operands.size() > 2 && !truth(evaluator.visit(*node.operands[2]))) continue;
      const Value value = evaluator.visit(*node.operands[0]);
      if (present(value).is_structured()) bad_input("a list can hold scalars only");
      result.push_back(value.get());
    }
    return Value::of(std::move(result));
  }

  static std::string text_of(const Value& value, std::string_view what) {
    const Json& json = present(value);
    if (!json.is_string())
      bad_input(fmt::format("'{}' of {}, which is no text", what, shown(json)));
    return json.get<std::string>();
  }

  Value unary(const Node& node) const {
    const Value operand = visit(*node.operands[0]);
    if (node.op == Operator::kNot) return Value::of(!truth(operand));
    return Value::of(negated(present(operand)));
  }

  Value binary(const Node& node) const {
    Value left = visit(*node.operands[0]);
    const Node& right_node = *node.operands[1];
    switch (node.op) {
      case Operator::kOr:
        return Value::of(truth(left) || truth(visit(right_node)));
      case Operator::kAnd:
        return Value::of(truth(left) && truth(visit(right_node)));
      case Operator::kCoalesce:
        return left.is_nothing() ? visit(right_node) : left;
      case Operator::kEqual:
        return Value::of(equal_values(left, visit(right_node)));
      case Operator::kNotEqual:
        return Value::of(!equal_values(left, visit(right_node)));
      default:
        break;
    }
    const Value right = visit(right_node);
    const Json& a = present(left);
    const Json& b = present(right);
    switch (node.op) {
      case Operator::kLess:
      case Operator::kLessEqual:
      case Operator::kGreater:
      case Operator::kGreaterEqual:
        return Value::of(ordered(node.op, a, b));
      case Operator::kIn:
        return Value::of(count_of(a, b, "in") > 0);
      default:
        return Value::of(arithmetic(node.op, a, b));
    }
  }

  static bool equal_values(const Value& left, const Value& right) {
    // "x == null" asks whether x is absent.
    if (left.is_absent() && right.is_nothing()) return true;
    if (right.is_absent() && left.is_nothing()) return true;
    return equal(present(left), present(right));
  }

  const Scope& scope_;
};

bool looks_up(const Node& node, std::string_view name) {
  if (node.kind == Node::Kind::kName && node.name == name) return true;
  return std::any_of(node.operands.begin(), node.operands.end(),
                     [&](const auto& operand) { return looks_up(*operand, name); });
}

}  // namespace

bool Expr::uses(std::string_view name) const {
  return root_ != nullptr && looks_up(*root_, name);
}

Json Expr::evaluate(const Scope& scope) const {
  if (empty()) return true;
  const Value value =
      bridge::with_context([this] { return fmt::format("'{}'", bridge::printable(text_)); },
                           [&] { return Evaluator(scope).visit(*root_); });
  return present(value);
}

int64_t Expr::evaluate_int(const Scope& scope) const {
  const Json json = evaluate(scope);
  if (is_integer(json)) return integer_of(json);
  constexpr double kExact = 9007199254740992.0;  // 2^53
  const double value = json.is_number_float() ? json.get<double>() : 0.5;
  if (value != std::floor(value) || std::fabs(value) > kExact) {
    bad_input(fmt::format("'{}': {} is not an integer", bridge::printable(text_), shown(json)));
  }
  return static_cast<int64_t>(value);
}

bool Expr::evaluate_bool(const Scope& scope) const {
  if (empty()) return true;
  return bridge::with_context([this] { return fmt::format("'{}'", bridge::printable(text_)); },
                              [&] { return truth(Evaluator(scope).visit(*root_)); });
}

}  // namespace mappings
