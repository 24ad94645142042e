// Describes where the elements of Hugging Face parts lie in a Megatron tensor. Each op states its
// layout once as data; both directions of the conversion, and the elements that a slice needs,
// follow from it (bridge/convert/algebra/op_layout.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

namespace mappings {

// A range of elements of a part that strands take for a part of its own.
struct Range {
  size_t part = 0;
  int64_t begin = 0;
  int64_t length = 0;
};

// `count` blocks of `length` elements. Their starts are `stride` elements apart in the part; in the
// Megatron tensor the blocks follow each other without gaps.
struct Strand {
  size_t part = 0;
  int64_t from = 0;  // first element of the first block, counted in the part
  int64_t length = 0;
  int64_t count = 1;
  int64_t stride = 0;  // greater than 0 if the strand has elements
};

// The Megatron tensor is the strands in this order. With `repeats` > 1, every part is divided into
// that many equal runs of elements; for each run in turn, the Megatron tensor has the strands,
// whose `from` counts from the beginning of the run. Every element of a part is in exactly one
// strand. If there are ranges, they are the parts of which strands speak; every element of an HF
// part is in exactly one range.
struct Strands {
  int64_t repeats = 1;
  std::vector<Strand> strands = {};
  std::vector<Range> ranges = {};
};

// The only part has the shape [axes..., width]. The Megatron tensor has the axis order[0], then
// order[1], ..., each of them once, and last the width.
struct Permutation {
  std::vector<int64_t> axes = {};
  std::vector<size_t> order = {};
};

using BlockLayout = std::variant<Strands, Permutation>;

}  // namespace mappings
