#include "mappings/table/quantization_parse.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/table/notice.h"
#include "mappings/table/table_json.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;

ScalePer scale_per(const std::string& text) {
  if (text.empty() || text == "block") return ScalePer::kBlock;
  if (text == "row") return ScalePer::kRow;
  if (text == "tensor") return ScalePer::kTensor;
  bad_input(fmt::format("'per' is '{}' (block, row or tensor)", printable(text)));
}

}  // namespace

Quantization quantization_of(const Json& json, const Place& place) {
  expect_keys(expect_object(json, "an entry"),
              {"dtype", "weight", "packed", "scale", "beside", "when", "per", "block",
               "scale_dtypes", "power_of_two", "stored", "grouped"});
  Quantization result;
  result.place = place;
  result.dtype = dtype_of(optional_text(json, "dtype"));
  result.stored = find(json, "stored") ? dtype_of(optional_text(json, "stored")) : result.dtype;
  result.weight = optional_text(json, "weight");
  result.packed = find(json, "packed") ? optional_text(json, "packed") : result.weight;
  result.scale = optional_text(json, "scale");
  if (const Json* beside = find(json, "beside")) result.beside = texts_of(*beside, "'beside'");
  result.when = optional_expr(json, "when");
  result.grouped = optional_flag(json, "grouped");
  result.scale_dtypes = dtypes_of(json, "scale_dtypes");
  result.power_of_two =
      find(json, "power_of_two") ? optional_expr(json, "power_of_two") : Expr::parse("false");
  result.per = scale_per(optional_text(json, "per"));
  const Json* const block = find(json, "block");
  if (result.per != ScalePer::kBlock) {
    if (block != nullptr) bad_input("'block' has no meaning with 'per'");
    return result;
  }
  if (block == nullptr || texts_of(*block, "'block'").size() != 2) {
    bad_input("'block' must be a list of two expressions: rows, columns");
  }
  result.block_rows = Expr::parse((*block)[0].get<std::string>());
  result.block_columns = Expr::parse((*block)[1].get<std::string>());
  return result;
}

QuantizationGroups quantization_groups_of(const Json& json) {
  expect_keys(expect_object(json, "the section"), {"groups", "ignore", "values", "refuse"});
  QuantizationGroups result;
  result.groups = optional_expr(json, "groups");
  result.ignore = optional_expr(json, "ignore");
  if (result.groups.empty() || result.ignore.empty()) {
    bad_input("'groups' and 'ignore' are needed");
  }
  if (const Json* values = find(json, "values")) {
    for (const auto& [name, value] : expect_object(*values, "'values'").items()) {
      result.values.emplace_back(name, Expr::parse(text_of(value, "the value")));
    }
  }
  if (const Json* refusals = find(json, "refuse")) {
    if (!refusals->is_array()) bad_input("'refuse' must be a list");
    for (const Json& refusal : *refusals) result.refuse.push_back(notice_of(refusal, {}));
  }
  return result;
}

}  // namespace mappings
