// The description of an op. Everything that tables, bindings, plans and layouts know about an op
// stands in the op's own file (mappings/op/NAME.cpp), and ops.h lists the ops. No other code asks
// which op it has.
//
// An op is a bijection between the elements of its Hugging Face parts and those of one logical
// Megatron tensor, plus zero rows where a vocabulary is padded; an op may also change values. It
// states
//   1. what a row of a table says: the op's name, the number of HF tensors and their ranks, and the
//      options that have a meaning
//   2. its shape rule: which shapes and numbers fit, and the Megatron shape that follows
//   3. its block layout (block_layout.h)
//   4. how it changes values, and whether the elements may be quantized
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

// A range of rows of a Megatron tensor that is stored in parts. Each part has its own key: the
// tensor's name with a suffix.
struct SplitPart {
  std::string suffix;
  int64_t rows = 0;

  bool operator==(const SplitPart&) const = default;
};

// The numbers that an op may need besides shapes.
struct OpNumbers {
  int64_t groups = 0;
  int64_t heads = 0;
  int64_t blocks = 0;
  // The rows on the Megatron side. It is not an option of a row, because the plan sets it.
  int64_t vocab_rows = 0;
  std::vector<SplitPart> split = {};
};

using NumberMember = int64_t OpNumbers::*;

// The numbers that a row passes to its op, and the names of the options that hold them.
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
  std::span<const bridge::Shape> parts;  // HF tensors, at least one; no dimension is negative
  const OpNumbers& numbers;
};

// Why shapes and numbers do not fit an op; nullopt if they fit.
using Misfit = std::optional<std::string>;

// How values change on their way to Megatron (apply) and back (undo), in F32 and in place; null:
// they do not change. The two need not be exact inverses for every value: the program stores a
// value that does not come back separately, as a witness.
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

// The default functions of an op: its only part is the Megatron tensor.
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
  // The numbers that the op needs; the remaining entries are null.
  std::array<NumberMember, kNumberOptions.size()> numbers = {};
  bool takes_gated = false;       // its two parts may be written as two chunks
  bool takes_split = true;        // its tensor may be stored in parts with suffixes
  bool needs_split_rows = false;  // a row must give the number of rows of each such part
  bool takes_chunks = true;       // its tensor may be cut into chunks
  bool takes_part = true;         // its row may belong to a part of a multimodal model
  bool takes_quantized = true;    // HF elements may be quantized, with scales by block
  // The Megatron tensor has the rows of a vocabulary, numbers.vocab_rows, however many the HF part
  // has.
  bool is_vocabulary = false;

  // Throws bridge::Error (bad input) if numbers overflow.
  Misfit (*misfit)(const Operands&) = always_fits;
  // The functions below are called only with operands that fit.
  bridge::Shape (*megatron_shape)(const Operands&) = shape_of_the_part;
  BlockLayout (*layout)(const Operands&) = order_of_the_part;
  ValueChange values = {};

  bool needs(NumberMember number) const {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
  }
  bool changes_values() const { return values.apply != nullptr; }
};

}  // namespace mappings
