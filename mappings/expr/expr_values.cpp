#include "mappings/expr/expr_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace mappings {

using bridge::bad_input;

std::string shown(const Json& json) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    return fmt::format("{}", json.get<double>());  // dump() would print null
  }
  return bridge::printable(json.dump(-1, ' ', false, Json::error_handler_t::replace));
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

namespace {

constexpr size_t kLongestText = 1'000'000;  // of joined texts

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

}  // namespace

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

Json negated(const Json& json) {
  if (is_integer(json)) return integer_arithmetic(Operator::kSubtract, 0, integer_of(json));
  return real(-static_cast<double>(number_of(json)));
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

Json logarithm_of(const Json& json) {
  const double x = static_cast<double>(number_of(json));
  if (!(x > 0)) bad_input(fmt::format("'ln' of {}, which is not positive", shown(json)));
  return real(std::log(x));
}

Json root_of(const Json& json) {
  const double x = static_cast<double>(number_of(json));
  if (!(x >= 0)) bad_input(fmt::format("'sqrt' of {}, which is negative", shown(json)));
  return real(std::sqrt(x));
}

Json rounded(const Json& json) {
  constexpr double kLargest = 1LL << 53;  // beyond it not every integer is a real
  if (is_integer(json)) return json;
  const double x = std::round(static_cast<double>(number_of(json)));
  if (!(std::fabs(x) <= kLargest)) bad_input(fmt::format("'round' of {}", shown(json)));
  return static_cast<int64_t>(x);
}

Json letters_of(const std::string& text) {
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

int64_t length_of(const Json& json) {
  if (json.is_structured()) return std::ssize(json);
  bad_input(fmt::format("'length' of {}, which has no entries", shown(json)));
}

std::string joined_texts(const Json& list) {
  if (!list.is_array()) bad_input(fmt::format("'join' of {}, which is no list", shown(list)));
  std::string text;
  for (const Json& item : list) {
    if (!item.is_string()) bad_input(fmt::format("'join' of {}, which is no text", shown(item)));
    text += item.get_ref<const std::string&>();
    if (text.size() > kLongestText) bad_input(fmt::format("text longer than {}", kLongestText));
  }
  return text;
}

int64_t count_of(const Json& item, const Json& list, std::string_view what) {
  if (!list.is_array()) bad_input(fmt::format("'{}' of {}, which is no list", what, shown(list)));
  return std::count_if(list.begin(), list.end(),
                       [&](const Json& entry) { return equal(item, entry); });
}

}  // namespace mappings
