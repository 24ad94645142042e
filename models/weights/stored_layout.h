// How the canonical tensors lie in the tensors of a checkpoint's files, so that gradients can be
// given in the checkpoint's own keys and shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "bridge/io/base/checked.h"
#include "models/weights/row_pattern.h"

namespace models {

struct StoredTensor {
  std::string key;      // as the checkpoint spells it
  bridge::Shape shape;  // of a quantized tensor: that of its values
  std::string unread;   // why the model reads nothing of it; empty: the model does
};

// A part of a stored tensor that is a canonical tensor, or some rows of one.
struct StoredPart {
  size_t tensor = 0;      // index into Weights::stored()
  int64_t first_row = 0;  // where the matrix begins, with the axes before it counted as rows
  RowPattern rows;        // in the matrix; count is not 0
  bridge::Shape shape;    // of the part: [rows.count, ...]
  int64_t first_column = 0;
  // Of the stored matrix; 0: the part has all of them, in order. After the last one the part's go
  // on at the first.
  int64_t columns = 0;
  // The stored matrix is [in, out], and `rows` are of [out, in]; first_row is one of the stored
  // rows.
  bool transposed = false;

  // The rows lie in runs of equal length: this many.
  int64_t runs() const { return rows.count / rows.run; }
  // The part as a view of the stored tensor, [runs, rows.run, ...]. whole: contiguous, of the
  // stored shape. Not for columns that go on at the first.
  at::Tensor of(const at::Tensor& whole) const;
  // Copies values, [runs, rows.run, ...], to where the part lies in the stored tensor.
  void put(const at::Tensor& values, const at::Tensor& whole) const;
  // A tensor of the part's shape as [runs, rows.run, ...], and back.
  at::Tensor by_run(const at::Tensor& part) const { return part.unflatten(0, {runs(), rows.run}); }
  static at::Tensor joined(const at::Tensor& by_run) { return by_run.flatten(0, 1); }
};

}  // namespace models
