#include "mappings/op/ops.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace mappings {
namespace {

// Messages name the ops in this order.
constexpr std::array kAll = {&ops::kCopy,
                             &ops::kConcat,
                             &ops::kQkv,
                             &ops::kGatedQkv,
                             &ops::kFusedQkv,
                             &ops::kGroup,
                             &ops::kUngroup,
                             &ops::kColumns,
                             &ops::kSwapColumns,
                             &ops::kTranspose,
                             &ops::kDeinterleave,
                             &ops::kDeinterleaveRows,
                             &ops::kTransposeDeinterleave,
                             &ops::kVocab,
                             &ops::kMinusOne};

}  // namespace

std::span<const Op* const> all_ops() {
  return kAll;
}

const Op& op_named(std::string_view name) {
  for (const Op* op : kAll) {
    if (op->name == name) return *op;
  }
  bridge::bad_input(fmt::format("unknown op '{}'", bridge::printable(name)),
                    "ops: " + names_of_ops([](const Op&) { return true; }));
}

std::string names_of_ops(bool (*is_true)(const Op&)) {
  std::string names;
  for (const Op* op : kAll) {
    if (is_true(*op)) names += fmt::format("{}{}", names.empty() ? "" : ", ", op->name);
  }
  return names;
}

}  // namespace mappings
