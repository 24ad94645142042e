// The closed algebra between a logical Megatron tensor and its Hugging Face parts, as movement of elements.
//
// An op is a bijection of element positions (plus zero rows for a padded vocabulary). It is stated once, as
// the block layout of the Megatron side; the forward runs, the inverse runs, the shape rule and the slice rule are all
// read off that layout, so the two directions cannot disagree:
//
//   copy    M = W
//   concat  M = [W0; W1; ...] on axis 0                                        ([gate; up]); with groups g: for
//           each of g groups its rows of W0, then of W1, ... (GLU interleaving)
//   qkv     for g in groups: [Q_g; K_g; V_g], X_g = rows g*r .. of X            (weights and biases alike)
//   gated_qkv  Q has a query and a gate for each head, [q_0; z_0; q_1; z_1; ...]; for g in groups: the queries of
//           its heads, then their gates, then K_g, V_g
//   group   W = [A; B; ...] of equal blocks; M = for g in groups: [A_g; B_g; ...]
//   ungroup W = for g in groups: [A_g; B_g; ...];  M = [A_0; A_1; ...; B_0; B_1; ...]
//   columns M = [W[:, 0:c]; W[:, c:2c]; ...] for g blocks of c columns           ([embedding | hidden] apart)
//   vocab   M = W with rows added (zeros) or cut to the Megatron side's count
//   minus_one  M = W - 1: the places of copy, and the one change of values (value_change.h)
//
// Truth: megatron/core/transformer/attention.py (how mixed_qkv is split, attention_output_gate), mlp.py (fc1 = [gate;
// up]); transformers' modeling_qwen3_next.py (fix_query_key_value_ordering: the groups that ungroup takes apart).
// Pure and thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bridge/convert/algebra/value_change.h"
#include "bridge/io/number/dtype.h"
#include "mappings/table/table.h"

namespace bridge {

// One contiguous stretch of elements. input is the part (forward) or 0 (inverse); kZeros means no source.
struct Run {
  static constexpr int kZeros = -1;
  int input;
  int64_t begin;   // first element in the input
  int64_t length;  // elements
};

// What an op needs beside shapes.
struct OpNumbers {
  int64_t groups = 0;
  int64_t heads = 0;                     // kGatedQkv
  int64_t blocks = 0;                    // kGroup
  int64_t vocab_rows = 0;                // kVocab: rows on the Megatron side
  std::vector<int64_t> split_rows = {};  // kUngroup: of each part
};

class OpLayout {
 public:
  // Shapes are those of the HF parts; errors (kBadInput) where they do not fit the op: an odd rank, trailing
  // dimensions that differ, rows that the groups do not divide.
  OpLayout(mappings::Op op, const std::vector<Shape>& parts, const OpNumbers& numbers);

  const Shape& megatron_shape() const { return shape_; }
  const Shape& part_shape(int part) const { return part_shapes_[static_cast<size_t>(part)]; }
  int64_t megatron_elements() const { return elements_; }
  // On the way to Megatron.
  ValueChange value_change() const { return value_change_; }

  // Slice rule, forward: the runs that make Megatron elements [begin, end), appended in order.
  void forward(int64_t begin, int64_t end, std::vector<Run>& runs) const;
  // Slice rule, inverse: the Megatron runs that make elements [begin, end) of HF part `part`.
  void inverse(int part, int64_t begin, int64_t end, std::vector<Run>& runs) const;

 private:
  // `count` blocks of `length` elements, one after another in Megatron's period, `stride` apart in the part's.
  struct Strand {
    size_t part;
    int64_t from;  // of the first block, in the part's period
    int64_t length;
    int64_t count;
    int64_t stride;
    int64_t begin;  // in Megatron's period
  };

  void lay_out(mappings::Op op, const OpNumbers& numbers);
  void add_strand(size_t part, int64_t from, int64_t length, int64_t count, int64_t stride);
  void ungroup(const OpNumbers& numbers);
  void exchange(int64_t outer, int64_t inner, int64_t begin, int64_t end,
                std::vector<Run>& runs) const;
  void lay_out_exchange(int64_t outer, int64_t inner);

  // Each side repeats its period: Megatron's is made of strands, in order, each part's of its elements among them.
  std::vector<Strand> strands_;
  std::vector<int64_t> part_periods_;
  int64_t period_ = 0;
  int64_t repeats_ = 1;
  // Of ops group and columns, else 0: the part's elements are [outer, inner, width], Megatron's [inner, outer, width].
  int64_t outer_ = 0;
  int64_t inner_ = 0;
  int64_t width_ = 0;
  int64_t zeros_from_ = 0;  // elements from here on are padding
  int64_t elements_ = 0;
  ValueChange value_change_ = ValueChange::kNone;
  Shape shape_;
  std::vector<Shape> part_shapes_;
};

}  // namespace bridge
