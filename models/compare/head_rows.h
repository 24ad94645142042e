// The statistics of two heads' logits, gathered on a GPU by a kernel of our own, so that logits
// stay there. What is gathered of a row: models/cuda/head_block.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/cuda/library.h"

namespace models {

class HeadRows {
 public:
  // kernels must outlive the object.
  HeadRows(const cuda::KernelLibrary& kernels, at::Device device, int64_t rows);

  // a, b: [rows, n] fp32 on the device, of the tokens first .. first + n - 1; the first call begins
  // at token 0. Does not wait for the device. Errors: those of KernelLibrary.
  void add(const at::Tensor& a, const at::Tensor& b, int64_t first);
  // Waits for the device.
  std::vector<cuda::HeadRow> rows() const;

 private:
  const cuda::KernelLibrary& kernels_;
  at::Tensor found_;  // bytes
  int64_t rows_;
};

// KL(p || q) of a row, as Divergence has it (head_statistics.h).
double divergence_of(const cuda::HeadRow& row);
bool same_best(const cuda::HeadRow& row);
// True if the five best tokens are the same, in any order.
bool same_best_five(const cuda::HeadRow& row);

}  // namespace models
