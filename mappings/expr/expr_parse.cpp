// A recursive-descent parser of the expression language; expr.h has the grammar. Tables are
// untrusted: the length of a text bounds the work, and caps on the depth of the tree and of the
// recursion keep parsing and evaluation from exhausting the stack.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "bridge/io/base/error.h"
#include "mappings/expr/expr_node.h"

namespace mappings {
namespace {

using Node = Expr::Node;
using NodePtr = std::shared_ptr<const Node>;

constexpr size_t kLongestText = 4096;
constexpr int kDeepest = 64;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  NodePtr parse() {
    NodePtr root = conditional();
    skip_spaces();
    if (at_ != text_.size()) fail("unexpected text");
    return root;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    bridge::bad_input(
        fmt::format("expression '{}': {} at column {}", bridge::printable(text_), what, at_ + 1));
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  bool accept(std::string_view token) {
    skip_spaces();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  void expect(std::string_view token) {
    if (!accept(token)) fail(fmt::format("'{}' expected", token));
  }

  // Accepts a whole word of the language, not the beginning of a longer name.
  bool accept_word(std::string_view word) {
    skip_spaces();
    const size_t end = at_ + word.size();
    if (text_.substr(at_, word.size()) != word) return false;
    if (end < text_.size() && (starts_name(text_[end]) || is_digit(text_[end]))) return false;
    at_ = end;
    return true;
  }

  NodePtr make(Node node) const {
    for (const NodePtr& operand : node.operands) {
      node.depth = std::max(node.depth, operand->depth + 1);
    }
    if (node.depth > kDeepest) fail(fmt::format("nesting deeper than {}", kDeepest));
    return std::make_shared<const Node>(std::move(node));
  }

  NodePtr binary(Operator op, NodePtr left, NodePtr right) const {
    Node node;
    node.kind = Node::Kind::kBinary;
    node.op = op;
    node.operands = {std::move(left), std::move(right)};
    return make(std::move(node));
  }

  // Every cycle of the grammar passes through here or through unary(), so these two bound the
  // recursion.
  NodePtr conditional() {
    const Level level(*this);
    NodePtr condition = disjunction();
    skip_spaces();
    // This is a lone '?': coalesce() has taken "??" already.
    if (!accept("?")) return condition;
    Node node;
    node.kind = Node::Kind::kConditional;
    NodePtr then_value = conditional();
    expect(":");
    node.operands = {std::move(condition), std::move(then_value), conditional()};
    return make(std::move(node));
  }

  NodePtr disjunction() {
    NodePtr left = conjunction();
    while (accept("||")) left = binary(Operator::kOr, left, conjunction());
    return left;
  }

  NodePtr conjunction() {
    NodePtr left = comparison();
    while (accept("&&")) left = binary(Operator::kAnd, left, comparison());
    return left;
  }

  std::optional<Operator> comparison_operator() {
    // Longer tokens come first: "<=" before "<".
    if (accept("==")) return Operator::kEqual;
    if (accept("!=")) return Operator::kNotEqual;
    if (accept("<=")) return Operator::kLessEqual;
    if (accept(">=")) return Operator::kGreaterEqual;
    if (accept("<")) return Operator::kLess;
    if (accept(">")) return Operator::kGreater;
    if (accept_word("in")) return Operator::kIn;
    return std::nullopt;
  }

  NodePtr comparison() {
    NodePtr left = coalesce();
    const std::optional<Operator> op = comparison_operator();
    if (!op) return left;
    left = binary(*op, left, coalesce());
    if (comparison_operator()) fail("a second comparison needs parentheses");
    return left;
  }

  NodePtr coalesce() {
    const Level level(*this);
    NodePtr left = sum();
    if (!accept("??")) return left;
    return binary(Operator::kCoalesce, std::move(left), coalesce());
  }

  NodePtr sum() {
    NodePtr left = product();
    for (;;) {
      if (accept("+")) {
        left = binary(Operator::kAdd, left, product());
      } else if (accept("-")) {
        left = binary(Operator::kSubtract, left, product());
      } else {
        return left;
      }
    }
  }

  NodePtr product() {
    NodePtr left = unary();
    for (;;) {
      if (accept("*")) {
        left = binary(Operator::kMultiply, left, unary());
      } else if (accept("/")) {
        left = binary(Operator::kDivide, left, unary());
      } else if (accept("%")) {
        left = binary(Operator::kRemainder, left, unary());
      } else {
        return left;
      }
    }
  }

  NodePtr unary() {
    const Level level(*this);
    Node node;
    node.kind = Node::Kind::kUnary;
    skip_spaces();
    if (text_.substr(at_, 2) != "!=" && accept("!")) {
      node.op = Operator::kNot;
    } else if (accept("-")) {
      node.op = Operator::kNegate;
    } else {
      return postfix();
    }
    node.operands = {unary()};
    return make(std::move(node));
  }

  NodePtr postfix() {
    NodePtr value = primary();
    for (;;) {
      Node node;
      if (accept(".")) {
        node.kind = Node::Kind::kMember;
        node.name = name();
        node.operands = {std::move(value)};
      } else if (accept("[")) {
        node.kind = Node::Kind::kIndex;
        node.operands = {std::move(value), conditional()};
        expect("]");
      } else {
        return value;
      }
      value = make(std::move(node));
    }
  }

  NodePtr primary() {
    skip_spaces();
    if (at_ >= text_.size()) fail("a value is missing");
    const char c = text_[at_];
    if (is_digit(c)) return number();
    if (c == '\'') return quoted();
    if (accept_call("count")) return of_two(Node::Kind::kCount);
    if (accept_call("ends_with")) return of_two(Node::Kind::kEndsWith);
    if (accept_call("letters")) return of_one(Node::Kind::kLetters);
    if (accept_call("length")) return of_one(Node::Kind::kLength);
    if (accept_call("join")) return of_one(Node::Kind::kJoin);
    if (accept_call("ln")) return of_one(Node::Kind::kLn);
    if (accept_call("sqrt")) return of_one(Node::Kind::kSqrt);
    if (accept_call("round")) return of_one(Node::Kind::kRound);
    if (starts_name(c)) return name_or_constant();
    if (accept("(")) {
      NodePtr inner = conditional();
      expect(")");
      return inner;
    }
    if (accept("[")) return list();
    fail("a value expected");
  }

  NodePtr literal(Json value) const {
    Node node;
    node.literal = std::move(value);
    return make(std::move(node));
  }

  NodePtr list() {
    Node node;
    node.kind = Node::Kind::kList;
    if (accept("]")) return make(std::move(node));
    node.operands.push_back(conditional());
    if (accept_word("for")) return list_for(std::move(node));
    while (accept(",")) node.operands.push_back(conditional());
    expect("]");
    return make(std::move(node));
  }

  // Nested ones would be evaluated as often as the product of their counts.
  NodePtr list_for(Node node) {
    if (has_list_for_) fail("a second 'for'");
    has_list_for_ = true;
    node.kind = Node::Kind::kListFor;
    node.name = name();
    if (!accept_word("in")) fail("'in' expected");
    node.operands.push_back(conditional());
    if (accept_word("if")) node.operands.push_back(conditional());
    expect("]");
    return make(std::move(node));
  }

  NodePtr number() {
    size_t end = at_;
    bool real = false;
    while (end < text_.size() && is_digit(text_[end])) ++end;
    if (end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      real = true;
      ++end;
      while (end < text_.size() && is_digit(text_[end])) ++end;
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      real = true;
      ++end;
      if (end < text_.size() && (text_[end] == '+' || text_[end] == '-')) ++end;
      while (end < text_.size() && is_digit(text_[end])) ++end;
    }
    if (end < text_.size() && starts_name(text_[end])) fail("malformed number");
    const char* const first = text_.data() + at_;
    const char* const last = text_.data() + end;
    Json value;
    if (real) {
      double parsed = 0;
      const auto [stop, error] = std::from_chars(first, last, parsed);
      if (error != std::errc() || stop != last || !std::isfinite(parsed)) fail("malformed number");
      value = parsed;
    } else {
      int64_t parsed = 0;
      const auto [stop, error] = std::from_chars(first, last, parsed);
      if (error != std::errc() || stop != last) fail("integer out of range");
      value = parsed;
    }
    at_ = end;
    return literal(std::move(value));
  }

  NodePtr quoted() {
    const size_t end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos) fail("text without a closing quote");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return literal(std::move(value));
  }

  std::string name() {
    skip_spaces();
    size_t end = at_;
    if (end >= text_.size() || !starts_name(text_[end])) fail("a name expected");
    while (end < text_.size() && (starts_name(text_[end]) || is_digit(text_[end]))) ++end;
    std::string result(text_.substr(at_, end - at_));
    at_ = end;
    return result;
  }

  // Without a parenthesis, the word is a name like any other.
  bool accept_call(std::string_view function) {
    const size_t begin = at_;
    if (accept_word(function) && accept("(")) return true;
    at_ = begin;
    return false;
  }

  NodePtr of_two(Node::Kind kind) {
    Node node;
    node.kind = kind;
    node.operands.push_back(conditional());
    expect(",");
    node.operands.push_back(conditional());
    expect(")");
    return make(std::move(node));
  }

  NodePtr of_one(Node::Kind kind) {
    Node node;
    node.kind = kind;
    node.operands.push_back(conditional());
    expect(")");
    return make(std::move(node));
  }

  NodePtr name_or_constant() {
    Node node;
    node.name = name();
    if (node.name == "true") return literal(true);
    if (node.name == "false") return literal(false);
    if (node.name == "null") return literal(nullptr);
    node.kind = Node::Kind::kName;
    return make(std::move(node));
  }

  // Counts the parser's own recursion, because not only deep trees drive it ("((((").
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > 4 * kDeepest) parser_.fail("nesting too deep");
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  std::string_view text_;
  size_t at_ = 0;
  int level_ = 0;
  bool has_list_for_ = false;
};

}  // namespace

Expr Expr::parse(std::string_view text) {
  if (text.size() > kLongestText) {
    bridge::bad_input(
        fmt::format("expression of {} bytes (at most {})", text.size(), kLongestText));
  }
  Expr expr;
  expr.text_ = std::string(text);
  expr.root_ = Parser(expr.text_).parse();
  return expr;
}

}  // namespace mappings
