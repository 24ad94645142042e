// Evaluates expressions; expr.h defines the semantics. Values of the configuration are passed by
// pointer, so that a.b.c copies only its result. Lists are bounded and hold only scalars, so that
// an expression of a hostile table cannot exhaust memory.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "mappings/expr/expr_node.h"

namespace mappings {
namespace {

using Node = Expr::Node;
using bridge::bad_input;

constexpr size_t kLongestList = 100'000;
constexpr size_t kLongestText = 1'000'000;  // of joined texts

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

std::string shown(const Json& json) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    return fmt::format("{}", json.get<double>());  // dump() would print null
  }
  return bridge::printable(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

bool truth(const Value& value) {
  if (value.is_nothing()) return false;
  const Json& json = value.get();
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number()) return json.get<double>() != 0;
  bad_input(fmt::format("{} is neither true nor false", shown(json)));
}

bool is_integer(const Json& json) {
  return json.is_number_integer();
}

int64_t integer_of(const Json& json) {
  if (json.is_number_unsigned()) {
    return bridge::checked_cast<int64_t>(json.get<uint64_t>(), "integer");
  }
  return json.get<int64_t>();
}

long double number_of(const Json& json) {
  if (is_integer(json)) return static_cast<long double>(integer_of(json));
  if (json.is_number_float()) return json.get<double>();
  bad_input(fmt::format("{} is not a number", shown(json)));
}

Json real(double value) {
  if (!std::isfinite(value)) bad_input("the result is not finite");
  return value;
}

Json joined_lists(const Json& a, const Json& b) {
  if (a.size() + b.size() > kLongestList) {
    bad_input(fmt::format("list longer than {}", kLongestList));
  }
  Json result = a;
  for (const Json& item : b) result.push_back(item);
  return result;
}

Json repeated_list(const Json& list, int64_t times) {
  const int64_t longest = static_cast<int64_t>(kLongestList);
  if (times < 0) bad_input(fmt::format("list repeated {} times", times));
  if (bridge::checked_mul(static_cast<int64_t>(list.size()), times, "list length") > longest) {
    bad_input(fmt::format("list longer than {}", longest));
  }
  Json result = Json::array();
  if (list.empty()) return result;
  for (int64_t i = 0; i < times; ++i) {
    for (const Json& item : list) {
      if (item.is_structured()) bad_input("only lists of scalars can be repeated");
      result.push_back(item);
    }
  }
  return result;
}

Json integer_arithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == Operator::kAdd) {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == Operator::kSubtract) {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == Operator::kMultiply) {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) bad_input("division by zero");
    if (b == -1) {  // INT64_MIN / -1 traps
      overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
      if (op == Operator::kRemainder) return 0;
    } else if (op == Operator::kRemainder) {
      result = a % b;
    } else {
      if (a % b != 0) bad_input(fmt::format("{} is not a multiple of {}", a, b));
      result = a / b;
    }
  }
  if (overflow) bad_input("integer overflow");
  return result;
}

Json arithmetic(Operator op, const Json& a, const Json& b) {
  if (op == Operator::kAdd && a.is_array() && b.is_array()) return joined_lists(a, b);
  if (op == Operator::kMultiply && a.is_array() && is_integer(b)) {
    return repeated_list(a, integer_of(b));
  }
  if (is_integer(a) && is_integer(b)) {
    return integer_arithmetic(op, integer_of(a), integer_of(b));
  }
  const double x = static_cast<double>(number_of(a));
  const double y = static_cast<double>(number_of(b));
  if (op == Operator::kAdd) return real(x + y);
  if (op == Operator::kSubtract) return real(x - y);
  if (op == Operator::kMultiply) return real(x * y);
  if (y == 0) bad_input("division by zero");
  return real(op == Operator::kDivide ? x / y : std::fmod(x, y));
}

bool equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return number_of(a) == number_of(b);
  return a == b;
}

bool ordered(Operator op, const Json& a, const Json& b) {
  const long double x = number_of(a);
  const long double y = number_of(b);
  if (op == Operator::kLess) return x < y;
  if (op == Operator::kLessEqual) return x <= y;
  if (op == Operator::kGreater) return x > y;
  return x >= y;
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

  static Json logarithm_of(const Json& json) {
    const double x = static_cast<double>(number_of(json));
    if (!(x > 0)) bad_input(fmt::format("'ln' of {}, which is not positive", shown(json)));
    return real(std::log(x));
  }

  static Json root_of(const Json& json) {
    const double x = static_cast<double>(number_of(json));
    if (!(x >= 0)) bad_input(fmt::format("'sqrt' of {}, which is negative", shown(json)));
    return real(std::sqrt(x));
  }

  static Json rounded(const Json& json) {
    constexpr double kLargest = 1LL << 53;  // beyond it not every integer is a real
    if (is_integer(json)) return json;
    const double x = std::round(static_cast<double>(number_of(json)));
    if (!(std::fabs(x) <= kLargest)) bad_input(fmt::format("'round' of {}", shown(json)));
    return static_cast<int64_t>(x);
  }

  static std::string text_of(const Value& value, std::string_view what) {
    const Json& json = present(value);
    if (!json.is_string())
      bad_input(fmt::format("'{}' of {}, which is no text", what, shown(json)));
    return json.get<std::string>();
  }

  // ASCII only, where a byte is a letter. A text counts as a list of letters only where a table
  // says so: "128x128" where a list belongs is an error.
  static Json letters_of(const std::string& text) {
    if (text.size() > kLongestList) bad_input(fmt::format("list longer than {}", kLongestList));
    Json list = Json::array();
    for (const char c : text) {
      if (static_cast<unsigned char>(c) >= 0x80) {
        bad_input(fmt::format("'letters' of {}, which is not ASCII", shown(text)));
      }
      list.push_back(std::string(1, c));
    }
    return list;
  }

  static int64_t length_of(const Json& json) {
    if (json.is_structured()) return std::ssize(json);
    bad_input(fmt::format("'length' of {}, which has no entries", shown(json)));
  }

  static std::string joined_texts(const Json& list) {
    if (!list.is_array()) bad_input(fmt::format("'join' of {}, which is no list", shown(list)));
    std::string text;
    for (const Json& item : list) {
      if (!item.is_string()) bad_input(fmt::format("'join' of {}, which is no text", shown(item)));
      text += item.get_ref<const std::string&>();
      if (text.size() > kLongestText) bad_input(fmt::format("text longer than {}", kLongestText));
    }
    return text;
  }

  static int64_t count_of(const Json& item, const Json& list, std::string_view what) {
    if (!list.is_array()) bad_input(fmt::format("'{}' of {}, which is no list", what, shown(list)));
    return std::count_if(list.begin(), list.end(),
                         [&](const Json& entry) { return equal(item, entry); });
  }

  Value unary(const Node& node) const {
    const Value operand = visit(*node.operands[0]);
    if (node.op == Operator::kNot) return Value::of(!truth(operand));
    const Json& json = present(operand);
    if (is_integer(json)) {
      return Value::of(integer_arithmetic(Operator::kSubtract, 0, integer_of(json)));
    }
    return Value::of(real(-static_cast<double>(number_of(json))));
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
