#define PCRE2_CODE_UNIT_WIDTH 8
#include "bridge/io/base/python_regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr size_t kLongestPattern = 4096;
constexpr uint32_t kMostSteps = 10'000;  // lookaheads tried, each a walk over the text
constexpr uint32_t kMostKilobytes = 8192;
constexpr uint32_t kDeepest = 1000;
constexpr size_t kPlaces = 4096;  // numbers of pcre2_dfa_match's workspace

PCRE2_SPTR units(std::string_view text) {
  // An empty view may have no address, which PCRE2 refuses.
  return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

std::string shown(std::string_view pattern) {
  return fmt::format("the regular expression '{}'", printable(pattern));
}

std::string message_of(int number) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(number, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct Freed {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

PythonRegex::PythonRegex(std::string_view pattern) : pattern_(pattern) {
  if (pattern.size() > kLongestPattern) {
    bad_input(fmt::format("a regular expression of {} bytes; {} are read at most", pattern.size(),
                          kLongestPattern));
  }
  if (pattern.find("{,") != std::string_view::npos) {
    unsupported(fmt::format("{}: the repetition {{,n}} is not read", shown(pattern)),
                "{0,n} says the same");
  }
  int error = 0;
  size_t place = 0;
  pcre2_code* const code = pcre2_compile(
      units(pattern), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_ANCHORED, &error, &place, nullptr);
  if (code == nullptr) {
    bad_input(fmt::format("{}: {} (at byte {})", shown(pattern), message_of(error), place));
  }
  code_ = std::shared_ptr<const pcre2_code>(
      code, [](const pcre2_code* made) { pcre2_code_free(const_cast<pcre2_code*>(made)); });
}

bool PythonRegex::matches_start_of(std::string_view text) const {
  const std::unique_ptr<pcre2_match_context, Freed> limits(pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_match_data, Freed> found(pcre2_match_data_create(1, nullptr));
  if (limits == nullptr || found == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(limits.get(), kMostSteps);
  pcre2_set_heap_limit(limits.get(), kMostKilobytes);
  pcre2_set_depth_limit(limits.get(), kDeepest);
  std::array<int, kPlaces> places;
  const int result = pcre2_dfa_match(code_.get(), units(text), text.size(), 0, PCRE2_DFA_SHORTEST,
                                     found.get(), limits.get(), places.data(), places.size());
  switch (result) {
    case PCRE2_ERROR_NOMATCH:
      return false;
    case PCRE2_ERROR_DFA_UITEM:
    case PCRE2_ERROR_DFA_UCOND:
      unsupported(fmt::format("{}: backreferences and conditions are not read", shown(pattern_)));
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_DFA_WSSIZE:
      bad_input(fmt::format("{} takes too long on '{}'", shown(pattern_), printable(text)));
    default:
      break;
  }
  if (result < 0) {
    bad_input(fmt::format("{} on '{}': {}", shown(pattern_), printable(text), message_of(result)));
  }
  return true;
}

}  // namespace bridge
