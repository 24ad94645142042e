// What the ops have in common that sort sequences out: the rows or columns of a matrix are `groups`
// sequences in turns, in every matrix of a stack, and Megatron has them as rows, one sequence after
// the other.
#pragma once

#include <string>

#include "tests/convert/algebra/op/op_property.h"

namespace bridge {

enum class InTurns { kRows, kColumns };

// Row g * length + i is row (or column) i * groups + g of the part.
inline void expect_sequences(const mappings::Op& op, InTurns axis) {
  expect_definition(op, [&](Maker& make) {
    const int64_t stack = make.up_to(3);
    const int64_t groups = make.up_to(3);
    const int64_t length = make.up_to(4);
    const int64_t across = make.up_to(5);
    const int64_t turns = groups * length;
    const bool rows = axis == InTurns::kRows;
    const auto shape = [&](int64_t a, int64_t b) {
      return stack == 1 ? Shape{a, b} : Shape{stack, a, b};
    };
    Example e{.shapes = {rows ? shape(turns, across) : shape(across, turns)},
              .numbers = {.groups = groups}};
    e.parts = {make.fresh(stack * turns * across)};
    for (int64_t s = 0; s < stack; ++s) {
      for (int64_t row = 0; row < turns; ++row) {
        const int64_t turn = row % length * groups + row / length;
        for (int64_t x = 0; x < across; ++x) {
          const int64_t in_matrix = rows ? turn * across + x : x * turns + turn;
          append_rows(e.megatron, e.parts[0], s * turns * across + in_matrix, 1, 1);
        }
      }
    }
    e.megatron_shape = shape(turns, across);
    return e;
  });
}

inline void expect_sequences_refused(const mappings::Op& op, InTurns axis) {
  const std::string what = axis == InTurns::kRows ? "rows" : "columns";
  const auto bad = [&](const std::string& name, int64_t turns, int64_t groups) {
    return BadOperands{name,
                       {axis == InTurns::kRows ? Shape{turns, 3} : Shape{3, turns}},
                       {.groups = groups},
                       std::to_string(turns) + " " + what + " do not divide into " +
                           std::to_string(groups) + " sequences"};
  };
  expect_refused(op, {bad("Odd", 9, 2),
                      bad("NoGroups", 8, 0),
                      bad("Negative", 8, -2),
                      bad("Empty", 0, 2),
                      {"Vector", {{8}}, {.groups = 2}, "[8] has no " + what}});
}

}  // namespace bridge
