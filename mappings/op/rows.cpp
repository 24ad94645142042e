#include "mappings/op/rows.h"

#include <fmt/format.h>

#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"

namespace mappings {

using bridge::printable;
using bridge::Shape;

int64_t rows_of(const Shape& shape) {
  return shape.empty() ? 0 : shape[0];
}

Misfit join_misfit(const Operands& operands) {
  const Shape& first = operands.parts[0];
  for (const Shape& part : operands.parts) {
    if (part.empty() || first.empty() ||
        !std::equal(part.begin() + 1, part.end(), first.begin() + 1, first.end())) {
      return fmt::format("{} and {} cannot be joined by rows", bridge::shape_text(first),
                         bridge::shape_text(part));
    }
  }
  return std::nullopt;
}

Shape joined_shape(const Operands& operands) {
  Shape shape = operands.parts[0];
  for (const Shape& part : operands.parts.subspan(1)) {
    shape[0] = bridge::checked_add(shape[0], part[0], "rows");
  }
  return shape;
}

Misfit groups_misfit(const Operands& operands, int64_t groups, std::string_view what) {
  if (groups <= 0) return fmt::format("{} {}", groups, what);
  for (const Shape& part : operands.parts) {
    if (rows_of(part) % groups != 0) {
      return fmt::format("{} rows do not divide into {} {}", rows_of(part), groups, what);
    }
  }
  return std::nullopt;
}

Misfit query_groups_misfit(const Operands& operands) {
  if (Misfit misfit = join_misfit(operands)) return misfit;
  return groups_misfit(operands, operands.numbers.groups, "query groups");
}

Misfit heads_misfit(const OpNumbers& numbers) {
  if (numbers.heads > 0 && numbers.heads % numbers.groups == 0) return std::nullopt;
  return fmt::format("{} heads do not divide into {} query groups", numbers.heads, numbers.groups);
}

Shape transposed_shape(const Operands& operands) {
  Shape shape = operands.parts[0];
  std::swap(shape.end()[-1], shape.end()[-2]);
  return shape;
}

int64_t leading_elements(const Shape& shape, size_t but) {
  return bridge::element_count(Shape(shape.begin(), shape.end() - static_cast<int64_t>(but)));
}

Strands rows_by_group(const Operands& operands, int64_t groups) {
  Strands layout{.repeats = groups};
  for (size_t i = 0; i < operands.parts.size(); ++i) {
    const int64_t elements = bridge::element_count(operands.parts[i]) / groups;
    layout.strands.push_back({.part = i, .length = elements, .stride = elements});
  }
  return layout;
}

Misfit split_misfit(const std::vector<SplitPart>& split, int64_t rows, int64_t groups) {
  int64_t sum = 0;
  for (const SplitPart& part : split) {
    if (part.rows <= 0) {
      return fmt::format("{} rows of '{}' in 'split'", part.rows, printable(part.suffix));
    }
    if (part.rows % groups != 0) {
      return fmt::format("{} rows of '{}' do not divide into {} groups", part.rows,
                         printable(part.suffix), groups);
    }
    sum = bridge::checked_add(sum, part.rows, "rows of 'split'");
  }
  if (sum == rows) return std::nullopt;
  return fmt::format("the parts of 'split' have {} rows, the tensor {}", sum, rows);
}

}  // namespace mappings
