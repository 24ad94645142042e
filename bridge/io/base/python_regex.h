// Regular expressions of Python's re, as configuration files hold them ("re:.*self_attn.*").
//
// A pattern is untrusted. Whether it matches is computed over sets of positions instead of by
// backtracking: each part of the pattern takes the positions where it may begin to those where it
// may end. So the time is bounded by the length of the text for most patterns and by a limit for
// all of them, and greedy and lazy repetitions are the same.
//
// Read are literals, ., [...], \d \w \s \b \A \Z and their like, groups, |, * + ? {m,n}, lookahead
// and the anchors. Refused by name are backreferences, lookbehind, flags, atomic groups and
// possessive repetitions. Texts are bytes: one of a character beyond ASCII counts as a letter.
// Truth: Python's Lib/re/_parser.py.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bridge {

class PythonRegex {
 public:
  // Errors: kUnsupported for what is not read; kBadInput for what is no pattern, or one longer
  // than 4 KiB.
  explicit PythonRegex(std::string_view pattern);

  // re.match(pattern, text) is not None: whether the pattern matches at the beginning of the text.
  // Errors: kBadInput if that takes too long. Thread-safe.
  bool matches_start_of(std::string_view text) const;

  struct Node {
    enum class Kind : uint8_t {
      kCharacter,  // one of `characters`
      kStart,
      kEnd,
      kBoundary,
      kNoBoundary,
      kSequence,
      kChoice,
      kRepeat,    // of the only part
      kAhead,     // if the only part matches from here
      kNotAhead,  // unless it does
    };
    static constexpr int32_t kNoLimit = -1;
    Kind kind = Kind::kSequence;
    std::bitset<256> characters = {};
    std::vector<Node> parts = {};
    int32_t least = 0;  // of kRepeat
    int32_t most = kNoLimit;
  };

 private:
  std::string pattern_;
  Node root_;
};

}  // namespace bridge
