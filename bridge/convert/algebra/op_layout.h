// The element movement of an op between a logical Megatron tensor and its Hugging Face parts.
//
// The op states its shape rule and its block layout once (mappings/op). This class derives the
// forward runs, the inverse runs and the slice rule from that layout, so that the two directions
// cannot disagree. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "bridge/convert/algebra/box.h"
#include "bridge/convert/algebra/value_change.h"
#include "bridge/io/number/dtype.h"
#include "mappings/op/op.h"

namespace bridge {

// One contiguous stretch of elements. input is the part (forward) or 0 (inverse); kZeros means that
// the stretch has no source.
struct Run {
  static constexpr int kZeros = -1;
  int input;
  int64_t begin;   // first element in the input
  int64_t length;  // elements
};

class OpLayout {
 public:
  // parts: the shapes of the HF parts. Errors: kBadInput where they do not fit the op.
  OpLayout(const mappings::Op& op, const std::vector<Shape>& parts,
           const mappings::OpNumbers& numbers);

  const Shape& megatron_shape() const { return shape_; }
  const Shape& part_shape(int part) const { return part_shapes_[static_cast<size_t>(part)]; }
  int64_t megatron_elements() const { return elements_; }
  // The change in the direction to Megatron.
  ValueChange value_change() const { return value_change_; }

  // Whether neighbours on one side lie apart on the other, so that each run is one element. Then
  // there is one part.
  bool scattered() const { return width_ == 1; }

  // Slice rule, forward: appends the runs that make Megatron elements [begin, end), in order.
  void forward(int64_t begin, int64_t end, std::vector<Run>& runs) const;
  // Slice rule, inverse: appends the Megatron runs that make elements [begin, end) of the HF part.
  void inverse(int part, int64_t begin, int64_t end, std::vector<Run>& runs) const;
  // The slice rule of a scattered layout: the largest box of Megatron's tensor (forward) or of the
  // part (inverse) that begins at `begin`, ends at `end` or before it, and has at least one element
  // and at most `most`. Where the box itself begins and ends, the box is the same.
  Box forward_box(int64_t begin, int64_t end, int64_t most) const;
  Box inverse_box(int64_t begin, int64_t end, int64_t most) const;

 private:
  struct Axis {
    int64_t size = 0;
    int64_t distance = 0;  // of neighbours on the other side, in elements
  };
  struct PlacedStrand : mappings::Strand {
    int64_t begin = 0;  // in Megatron's period
  };
  // A range of an HF part, which is the whole part unless the op says otherwise.
  struct Source : mappings::Range {
    int64_t period = 0;
  };

  void place(const mappings::Strands& layout);
  void place(const mappings::Permutation& layout);
  void permuted(const std::vector<Axis>& axes, int64_t begin, int64_t end,
                std::vector<Run>& runs) const;
  static Box box(const std::vector<Axis>& axes, int64_t begin, int64_t most);

  // Each side repeats its period. Megatron's period is the strands in order; the period of a source
  // is its elements among them.
  std::vector<PlacedStrand> strands_;
  std::vector<Source> sources_;  // a strand's `part` is an index into them
  int64_t period_ = 0;
  // The axes of a permutation, else none: in Megatron's order, with the distances in the part, and
  // in the order of the part, with the distances in Megatron's tensor. Each side has stretches of
  // width_ elements.
  std::vector<Axis> megatron_axes_;
  std::vector<Axis> part_axes_;
  int64_t width_ = 0;
  int64_t zeros_from_ = 0;  // elements from here on are padding
  int64_t elements_ = 0;
  ValueChange value_change_;
  Shape shape_;
  std::vector<Shape> part_shapes_;
};

}  // namespace bridge
