// Boxes: pieces of the output of a permutation whose elements lie apart in the input, as of a
// transposed matrix. Element by element each would cost a read of a few bytes.
//
// A box is a rectangle in the axes of the input that is one stretch of the output. Its elements are
// gathered from memory:
//
//   1. cells      the innermost axes that make a few elements together are read whole, whatever the
//                 box has of them. A cell belongs to the box with its first element, so that every
//                 element of the input belongs to one box
//   2. stretches  next axes that the box has whole, and as much of the one after them as fits, are
//                 one read
//   3. rows       as many stretches as the scratch memory holds lie in it together, so that the
//                 output is written a few elements at a time and not one here and one there
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace bridge {

// The box has elements [first, first + count) of an axis with `size`. Neighbours on the axis are
// `distance` elements apart in the output.
struct BoxAxis {
  int64_t size = 1;
  int64_t first = 0;
  int64_t count = 1;
  int64_t distance = 0;
};

struct Box {
  int64_t length = 0;              // elements
  std::vector<BoxAxis> axes = {};  // in the order of the input; the last has neighbours there
};

// Elements of a cell, at most.
constexpr int64_t kLargestCell = 16;

// Reads elements of the input from `begin` on. owned: whether their cells belong to the box.
using BoxRead = std::function<void(int64_t begin, std::span<std::byte> into, bool owned)>;

// Fills out with the box, whose elements have 1, 2, 4 or 8 bytes. scratch: at least a cell.
void gather_box(const Box& box, size_t element_bytes, std::span<std::byte> scratch,
                std::span<std::byte> out, const BoxRead& read);

}  // namespace bridge
