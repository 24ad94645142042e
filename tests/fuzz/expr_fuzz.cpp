// Fuzzes expressions of mapping tables: parsing and evaluating may only fail with an Error.
#include <nlohmann/json.hpp>

#include "mappings/expr/expr.h"
#include "tests/fuzz/fuzz.h"

void fuzz_one(std::string_view input) {
  static const auto kConfig = mappings::Json::parse(R"({
    "a": 6, "b": -9223372036854775808, "big": 18446744073709551615, "half": 0.5, "none": null,
    "yes": true, "list": [1, "two", 3.0], "nested": {"c": 4, "list": [5]}, "text": "full_attention"})");
  mappings::Scope scope;
  scope.config = &kConfig;
  scope.variables.emplace_back("l", 1);
  fuzz::accepts([&] {
    const mappings::Expr expression = mappings::Expr::parse(input);
    fuzz::accepts([&] { expression.evaluate(scope); });
    fuzz::accepts([&] { expression.evaluate_int(scope); });
    fuzz::accepts([&] { expression.evaluate_bool(scope); });
  });
}
