// Regular expressions of Python's re, as configuration files hold them ("re:.*self_attn.*"), by
// PCRE2: std::regex has no limits, and RE2 no lookahead, which real configurations use.
//
// A pattern is untrusted. PCRE2's matcher without backtracking (pcre2_dfa_match) keeps the set of
// all places in the pattern at once, and its steps and its memory are limited, so that no pattern
// takes long. What PCRE2 reads otherwise than Python, the repetition {,n}, is refused by name, and
// so are backreferences, which such a matcher does not have.
// Truth: Python's Lib/re; pcre2pattern(3), pcre2matching(3).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace bridge {

class PythonRegex {
 public:
  // The most that a list of a configuration may have. PCRE2 takes up to 64 KiB for one, beside
  // --memory.
  static constexpr size_t kMostInList = 256;

  // Errors: kUnsupported for the repetition {,n}; kBadInput if it is not a pattern or is longer
  // than 4 KiB.
  explicit PythonRegex(std::string_view pattern);

  // re.match(pattern, text) is not None: whether the pattern matches at the beginning of the text,
  // which is UTF-8. Errors: kUnsupported for a backreference; kBadInput if it takes too long or the
  // text is not UTF-8. Thread-safe.
  bool matches_start_of(std::string_view text) const;

 private:
  std::string pattern_;
  std::shared_ptr<const pcre2_real_code_8> code_;  // never changes
};

}  // namespace bridge
