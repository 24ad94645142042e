#include "mappings/table/op_names.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

constexpr std::array<std::pair<Op, std::string_view>, 9> kNames = {{
    {Op::kCopy, "copy"},
    {Op::kConcat, "concat"},
    {Op::kQkv, "qkv"},
    {Op::kGatedQkv, "gated_qkv"},
    {Op::kGroup, "group"},
    {Op::kUngroup, "ungroup"},
    {Op::kColumns, "columns"},
    {Op::kVocab, "vocab"},
    {Op::kMinusOne, "minus_one"},
}};

}  // namespace

std::string_view op_name(Op op) {
  for (const auto& [known, name] : kNames) {
    if (known == op) return name;
  }
  bridge::internal_error("unknown op");
}

Op op_of(const std::string& name) {
  std::string all;
  for (const auto& [op, known] : kNames) {
    if (known == name) return op;
    all += fmt::format("{}{}", all.empty() ? "" : ", ", known);
  }
  bridge::bad_input(fmt::format("unknown op '{}'", bridge::printable(name)), "ops: " + all);
}

}  // namespace mappings
