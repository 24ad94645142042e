#include "bridge/io/base/python_regex.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "bridge/io/base/python_regex_parse.h"

namespace bridge {
namespace {

using Node = PythonRegex::Node;
using Kind = Node::Kind;
// Whether each position of a text, its end included, is in the set.
using Positions = std::vector<char>;

constexpr int64_t kMostSteps = 20'000'000;  // about the positions that are looked at

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool any(const Positions& positions) {
  return std::find(positions.begin(), positions.end(), 1) != positions.end();
}

class Evaluation {
 public:
  Evaluation(std::string_view text, std::string_view pattern) : text_(text), pattern_(pattern) {}

  // Returns where the node may end if it begins at one of the positions.
  Positions ends(const Node& node, Positions from) {
    steps_ += static_cast<int64_t>(from.size());
    if (steps_ > kMostSteps) {
      bad_input(fmt::format("the pattern '{}' takes too long on '{}'", printable(pattern_),
                            printable(text_)));
    }
    switch (node.kind) {
      case Kind::kCharacter:
        return after_one_of(node.characters, from);
      case Kind::kSequence:
        for (const Node& part : node.parts) from = ends(part, std::move(from));
        return from;
      case Kind::kChoice:
        return of_any(node, from);
      case Kind::kRepeat:
        return of_repetitions(node, from);
      default:
        for (size_t at = 0; at < from.size(); ++at) {
          if (from[at] != 0 && !holds(node, at)) from[at] = 0;
        }
        return from;
    }
  }

 private:
  Positions after_one_of(const std::bitset<256>& characters, const Positions& from) const {
    Positions to(from.size(), 0);
    for (size_t at = 0; at < text_.size(); ++at) {
      if (from[at] != 0 && characters[static_cast<unsigned char>(text_[at])]) to[at + 1] = 1;
    }
    return to;
  }

  Positions of_any(const Node& node, const Positions& from) {
    Positions all(from.size(), 0);
    for (const Node& part : node.parts) add(all, ends(part, from));
    return all;
  }

  // A position that fewer repetitions reach needs no more of them: what follows it is known.
  Positions of_repetitions(const Node& node, Positions from) {
    const Node& part = node.parts[0];
    for (int32_t i = 0; i < node.least && any(from); ++i) from = ends(part, std::move(from));
    Positions all = from;
    for (int32_t i = node.least; node.most == Node::kNoLimit || i < node.most; ++i) {
      from = ends(part, std::move(from));
      for (size_t at = 0; at < from.size(); ++at) {
        if (all[at] != 0) from[at] = 0;
      }
      if (!any(from)) break;
      add(all, from);
    }
    return all;
  }

  bool holds(const Node& node, size_t at) {
    switch (node.kind) {
      case Kind::kStart:
        return at == 0;
      case Kind::kEnd:
        return at == text_.size() || (at + 1 == text_.size() && text_[at] == '\n');
      case Kind::kBoundary:
      case Kind::kNoBoundary: {
        const bool before = at > 0 && is_word(text_[at - 1]);
        const bool after = at < text_.size() && is_word(text_[at]);
        return (before != after) == (node.kind == Kind::kBoundary);
      }
      default: {
        Positions from(text_.size() + 1, 0);
        from[at] = 1;
        return any(ends(node.parts[0], std::move(from))) == (node.kind == Kind::kAhead);
      }
    }
  }

  static void add(Positions& all, const Positions& more) {
    for (size_t at = 0; at < all.size(); ++at) all[at] |= more[at];
  }

  std::string_view text_;
  std::string_view pattern_;
  int64_t steps_ = 0;
};

}  // namespace

PythonRegex::PythonRegex(std::string_view pattern)
    : pattern_(pattern), root_(parse_python_regex(pattern)) {}

bool PythonRegex::matches_start_of(std::string_view text) const {
  Positions start(text.size() + 1, 0);
  start[0] = 1;
  return any(Evaluation(text, pattern_).ends(root_, std::move(start)));
}

}  // namespace bridge
