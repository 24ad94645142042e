// What the operators and functions of expressions compute from JSON values; expr.h defines them.
// Internal. Lists are bounded and hold only scalars, so that an expression of a hostile table
// cannot exhaust memory. Pure; thread-safe. Errors: kBadInput for a value of another type, with the
// value; for a result that is not finite or leaves 64 bits; for a division by zero or with a
// remainder; for a list or text that grows too long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mappings/expr/expr_node.h"

namespace mappings {

constexpr size_t kLongestList = 100'000;

// The value as messages show it.
std::string shown(const Json& json);

bool is_integer(const Json& json);
int64_t integer_of(const Json& json);  // of an integer

// op: +, -, *, / or %.
Json arithmetic(Operator op, const Json& a, const Json& b);
Json negated(const Json& json);
// Numbers are equal by value, whether integers or reals.
bool equal(const Json& a, const Json& b);
// op: <, <=, > or >=.
bool ordered(Operator op, const Json& a, const Json& b);

Json logarithm_of(const Json& json);
Json root_of(const Json& json);
Json rounded(const Json& json);
// ASCII only, where a byte is a letter. A text counts as a list of letters only where a table says
// so: "128x128" where a list belongs is an error.
Json letters_of(const std::string& text);
int64_t length_of(const Json& json);
std::string joined_texts(const Json& list);
// what: the name of the function or operator, for the error.
int64_t count_of(const Json& item, const Json& list, std::string_view what);

}  // namespace mappings
