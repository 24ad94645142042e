// Compares the values of one tensor on two sides, one block of rows after the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/compare/rounding.h"
#include "models/model/tensor_id.h"

namespace models {

class ValueComparison {
 public:
  // types: what the conversion may have rounded the tensor to.
  ValueComparison(Role role, RoundedTypes types) : role_(role), types_(std::move(types)) {}

  // Takes up the next block, of one shape on both sides. True if both are equal as stored.
  bool add(const at::Tensor& a, const at::Tensor& b);

  int64_t different() const { return different_; }
  bool types_differ() const { return types_differ_; }
  bool is_rounding() const { return !rounds_a_.empty() || !rounds_b_.empty(); }
  // The rounding of the first or of the second side; nullptr if none explains the difference.
  const Rounding* a_rounded() const { return rounds_a_.empty() ? nullptr : &rounds_a_[0]; }
  const Rounding* b_rounded() const { return rounds_b_.empty() ? nullptr : &rounds_b_[0]; }
  double largest() const { return largest_; }
  // "12 of 4096 values differ, by 0.5 at most"; elements: of the tensor.
  std::string text(int64_t elements) const;

 private:
  Role role_;
  RoundedTypes types_;
  bool types_differ_ = false;
  int64_t different_ = 0;
  double largest_ = 0;
  std::vector<Rounding> rounds_a_;
  std::vector<Rounding> rounds_b_;
};

}  // namespace models
