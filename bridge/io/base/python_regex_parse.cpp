#include "bridge/io/base/python_regex_parse.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

using Node = PythonRegex::Node;
using Characters = std::bitset<256>;

constexpr size_t kLongestPattern = 4096;
constexpr int kDeepest = 64;
constexpr int32_t kMostRepeats = 1000;
constexpr std::string_view kQuantifiers = "*+?{";

Characters range(unsigned first, unsigned last) {
  Characters set;
  for (unsigned c = first; c <= last; ++c) set.set(c);
  return set;
}

Characters one(char c) {
  return range(static_cast<unsigned char>(c), static_cast<unsigned char>(c));
}

Characters digits() {
  return range('0', '9');
}

Characters word() {
  return digits() | range('a', 'z') | range('A', 'Z') | one('_') | range(0x80, 0xff);
}

Characters space() {
  return range('\t', '\r') | range(0x1c, 0x1f) | one(' ');
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  Node parse() {
    Node node = choice(0);
    if (!at_end()) wrong("an unbalanced ')'");
    return node;
  }

 private:
  bool at_end() const { return at_ == pattern_.size(); }
  bool next_is(char c) const { return !at_end() && pattern_[at_] == c; }
  bool accept(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  char take() {
    if (at_end()) wrong("an unfinished end");
    return pattern_[at_++];
  }

  [[noreturn]] void wrong(std::string_view what) const {
    bad_input(fmt::format("the pattern '{}' has {}", printable(pattern_), what));
  }
  [[noreturn]] void not_read(std::string_view what) const {
    unsupported(
        fmt::format("the pattern '{}' has {}, which is not read here", printable(pattern_), what),
        "say it without, or list the names");
  }

  Node choice(int depth) {
    if (depth > kDeepest) wrong("groups in too many groups");
    Node node = sequence(depth);
    if (!next_is('|')) return node;
    Node all{Node::Kind::kChoice};
    all.parts.push_back(std::move(node));
    while (accept("|")) all.parts.push_back(sequence(depth));
    return all;
  }

  Node sequence(int depth) {
    Node all{Node::Kind::kSequence};
    while (!at_end() && !next_is('|') && !next_is(')')) {
      Node item = atom(depth);
      if (auto repeat = quantifier()) {
        if (is_assertion(item)) wrong("a repetition of nothing");
        repeat->parts.push_back(std::move(item));
        item = *std::move(repeat);
      }
      all.parts.push_back(std::move(item));
    }
    return all;
  }

  static bool is_assertion(const Node& node) {
    using enum Node::Kind;
    return node.kind == kStart || node.kind == kEnd || node.kind == kBoundary ||
           node.kind == kNoBoundary;
  }

  // The number of repetitions that follows, if one does. Lazy ones match the same texts.
  std::optional<Node> quantifier() {
    Node repeat{Node::Kind::kRepeat};
    if (accept("*")) {
    } else if (accept("+")) {
      repeat.least = 1;
    } else if (accept("?")) {
      repeat.most = 1;
    } else if (!next_is('{') || !counts(repeat)) {
      return std::nullopt;
    }
    if (next_is('+')) not_read("a possessive repetition");
    accept("?");
    if (!at_end() && kQuantifiers.find(pattern_[at_]) != std::string_view::npos &&
        !(next_is('{') && !is_count())) {
      wrong("a repetition of a repetition");
    }
    return repeat;
  }

  bool is_count() const {
    Node repeat;
    return Parser(*this).counts(repeat);
  }

  // {m}, {m,}, {,n} or {m,n}; anything else in braces is text.
  bool counts(Node& repeat) {
    const size_t before = at_;
    ++at_;
    const std::optional<int32_t> least = number();
    std::optional<int32_t> most = least;
    const bool has_comma = accept(",");
    if (has_comma) most = number();
    if (!accept("}") || (!least && !has_comma)) {
      at_ = before;
      return false;
    }
    repeat.least = least.value_or(0);
    repeat.most = most.value_or(Node::kNoLimit);
    if (most && *most < repeat.least) wrong("a repetition of fewer than its least");
    return true;
  }

  std::optional<int32_t> number() {
    if (at_end() || !is_digit(pattern_[at_])) return std::nullopt;
    int32_t value = 0;
    while (!at_end() && is_digit(pattern_[at_])) {
      value = value * 10 + (take() - '0');
      if (value > kMostRepeats) wrong(fmt::format("more than {} repetitions", kMostRepeats));
    }
    return value;
  }

  Node atom(int depth) {
    const char c = take();
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return of(set());
      case '.':
        return of(~one('\n'));
      case '^':
        return {Node::Kind::kStart};
      case '$':
        return {Node::Kind::kEnd};
      case '\\':
        return escape();
      case '*':
      case '+':
      case '?':
        wrong("a repetition of nothing");
      default:
        return of(one(c));
    }
  }

  static Node of(Characters characters) { return {Node::Kind::kCharacter, characters}; }

  Node group(int depth) {
    Node node{Node::Kind::kSequence};
    if (accept("?:")) {
    } else if (accept("?=")) {
      node.kind = Node::Kind::kAhead;
    } else if (accept("?!")) {
      node.kind = Node::Kind::kNotAhead;
    } else if (accept("?P<")) {
      while (take() != '>') {
      }
    } else if (next_is('?')) {
      not_read(pattern_.substr(at_).starts_with("?<") ? "a lookbehind"
                                                      : "flags or a group of another kind");
    }
    node.parts.push_back(choice(depth + 1));
    if (!accept(")")) wrong("a '(' without its ')'");
    return node;
  }

  Node escape() {
    const char c = take();
    switch (c) {
      case 'A':
        return {Node::Kind::kStart};
      case 'Z':
        return of_end_of_text();
      case 'b':
        return {Node::Kind::kBoundary};
      case 'B':
        return {Node::Kind::kNoBoundary};
      default:
        return of(escaped(c));
    }
  }

  // \Z, unlike $, does not match before a last newline.
  static Node of_end_of_text() {
    Node any = of(~Characters());
    Node node{Node::Kind::kNotAhead};
    node.parts.push_back(std::move(any));
    return node;
  }

  // The characters of an escape that means some wherever it stands.
  Characters escaped(char c) {
    switch (c) {
      case 'd':
        return digits();
      case 'D':
        return ~digits();
      case 'w':
        return word();
      case 'W':
        return ~word();
      case 's':
        return space();
      case 'S':
        return ~space();
      case 'n':
        return one('\n');
      case 't':
        return one('\t');
      case 'r':
        return one('\r');
      default:
        break;
    }
    if (is_digit(c)) not_read("a backreference or an octal escape");
    if (is_letter(c)) not_read(fmt::format("'\\{}'", c));
    return one(c);
  }

  Characters set() {
    const bool negated = accept("^");
    Characters all;
    bool is_first = true;
    while (is_first || !next_is(']')) {
      is_first = false;
      const auto [first, is_single] = member();
      if (!next_is('-') || pattern_.substr(at_).starts_with("-]")) {
        all |= first;
        continue;
      }
      accept("-");
      const auto [last, last_is_single] = member();
      if (!is_single || !last_is_single) wrong("a range between kinds of characters");
      const auto from = first._Find_first();
      const auto to = last._Find_first();
      if (from > to) wrong("a range that ends before it begins");
      all |= range(static_cast<unsigned>(from), static_cast<unsigned>(to));
    }
    accept("]");
    return negated ? ~all : all;
  }

  // A character of a set, or a kind of characters; and whether it is one.
  std::pair<Characters, bool> member() {
    const char c = take();
    if (c != '\\') return {one(c), true};
    const char after = take();
    if (after == 'b') return {one('\b'), true};
    const Characters characters = escaped(after);
    return {characters, characters.count() == 1};
  }

  std::string_view pattern_;
  size_t at_ = 0;
};

}  // namespace

PythonRegex::Node parse_python_regex(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) {
    bad_input(fmt::format("a pattern of {} bytes (at most {})", pattern.size(), kLongestPattern));
  }
  return Parser(pattern).parse();
}

}  // namespace bridge
