// What an op is: all that tables, bindings, plans and layouts know of one, stated in the op's own file (mappings/op/NAME.cpp)
// and listed in ops.h. Nothing else in the program asks which op it has.
//
// An op is a bijection between the elements of its Hugging Face parts and those of one logical Megatron tensor, plus zero
// rows where a vocabulary is padded; an op may change values too. It states
//   1. what a row of a table says: the op's name, how many HF tensors of which ranks, the options that mean something
//   2. its shape rule: which shapes and numbers fit, and the Megatron shape that follows
//   3. its block layout (block_layout.h)
//   4. what becomes of values, and whether the elements may be quantized
// All functions are pure and thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/checked.h"
#include "mappings/op/block_layout.h"

namespace mappings {

// A part, by rows, of a Megatron tensor that lies under keys of their own: the tensor's name with a suffix.
struct SplitPart {
  std::string suffix;
  int64_t rows = 0;

  bool operator==(const SplitPart&) const = default;
};

// What an op may need beside shapes.
struct OpNumbers {
  int64_t groups = 0;
  int64_t heads = 0;
  int64_t blocks = 0;
  int64_t vocab_rows = 0;  // of the Megatron side; no option of a row, for the plan knows it
  std::vector<SplitPart> split = {};
};

using NumberMember = int64_t OpNumbers::*;

// The numbers that a row gives to its op, as options of these names.
struct NumberOption {
  std::string_view name;
  NumberMember number;
};
inline constexpr std::array<NumberOption, 3> kNumberOptions = {{
    {"groups", &OpNumbers::groups},
    {"heads", &OpNumbers::heads},
    {"blocks", &OpNumbers::blocks},
}};

struct Operands {
  std::span<const bridge::Shape> parts;  // of the HF tensors, at least one, no dimension negative
  const OpNumbers& numbers;
};

// Why shapes and numbers do not fit an op; nullopt: they do.
using Misfit = std::optional<std::string>;

// What becomes of values on their way to Megatron and back, in F32 and in place; null: they stay. Neither needs to undo the
// other for every value: what does not come back is kept aside (a witness).
struct ValueChange {
  void (*apply)(std::span<float>) = nullptr;
  void (*undo)(std::span<float>) = nullptr;

  bool operator==(const ValueChange&) const = default;
};

constexpr ValueChange inverse_of(ValueChange change) {
  return {change.undo, change.apply};
}

enum class Ranks {
  kAny,
  kMatrixOrVector,
  kMatrix,
};

// Defaults of the functions: one part, which is the Megatron tensor.
inline Misfit always_fits(const Operands& /*operands*/) {
  return std::nullopt;
}
inline bridge::Shape shape_of_the_part(const Operands& operands) {
  return operands.parts[0];
}
BlockLayout order_of_the_part(const Operands& operands);

struct Op {
  std::string_view name;  // in tables

  // A row of a table.
  size_t least_parts = 1;  // HF tensors
  size_t most_parts = 1;
  Ranks ranks = Ranks::kAny;
  std::array<NumberMember, kNumberOptions.size()> numbers =
      {};                         // what it needs; the others are null
  bool takes_gated = false;       // its two parts may be written as two chunks
  bool takes_split = true;        // its tensor may lie in parts with suffixes
  bool needs_split_rows = false;  // it means nothing without the rows of each of these
  bool takes_chunks = true;       // its tensor may be cut into chunks
  bool takes_part = true;         // it may be of a part of a multimodal model
  bool takes_quantized = true;    // HF elements may be quantized, with scales by block
  // The Megatron side's rows are those of a vocabulary, numbers.vocab_rows, whatever the part has.
  bool is_vocabulary = false;

  // Also bad input (bridge::Error) where numbers overflow.
  Misfit (*misfit)(const Operands&) = always_fits;
  // The functions below are asked only about what fits.
  bridge::Shape (*megatron_shape)(const Operands&) = shape_of_the_part;
  BlockLayout (*layout)(const Operands&) = order_of_the_part;
  ValueChange values = {};

  bool needs(NumberMember number) const {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
  }
  bool changes_values() const { return values.apply != nullptr; }
};

}  // namespace mappings
