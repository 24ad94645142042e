// Typed access to the JSON of a mapping table; a value of another kind is bad input that names its key. Internal to
// mappings.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/number/dtype.h"
#include "mappings/expr/expr.h"

namespace mappings {

void expect_keys(const Json& object, std::span<const std::string_view> known);
void expect_keys(const Json& object, std::initializer_list<std::string_view> known);
const Json& expect_object(const Json& json, std::string_view what);
std::string text_of(const Json& json, std::string_view what);
std::vector<std::string> texts_of(const Json& json, std::string_view what);
const Json* find(const Json& object, std::string_view key);
std::string optional_text(const Json& object, std::string_view key);
bool optional_flag(const Json& object, std::string_view key);
Expr optional_expr(const Json& object, std::string_view key);
bridge::Dtype dtype_of(const std::string& name);
// Empty where the key is absent.
std::vector<bridge::Dtype> dtypes_of(const Json& object, std::string_view key);

}  // namespace mappings
