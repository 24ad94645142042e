// Where the forward pass gets weights from: one tensor at a time, by what it is for. Nothing is kept between calls, so
// that memory holds no more than the tensors in use, whatever the model's size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bridge/io/base/checked.h"
#include "models/model/model_config.h"
#include "models/model/tensor_id.h"

namespace models {

// A checkpoint read as the software it is for would read it. Opening one checks that every canonical tensor is there with
// its shape, and that nothing is there that the model has no use for. One thread.
class Weights {
 public:
  virtual ~Weights() = default;

  virtual const ModelConfig& config() const = 0;
  // As stored. Error: kBadInput when the checkpoint lacks the tensor.
  virtual bridge::Shape shape(const TensorId& id) = 0;
  // Rows [begin, end) of a tensor (elements of a vector) in a buffer of their own, on the CPU, in the type they are stored
  // in; quantized ones in BF16, the scale applied and rounded once.
  virtual at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) = 0;
  // The same, but quantized ones in fp32, the scale applied and nothing rounded: for who rounds them to another type.
  virtual at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) {
    return rows(id, begin, end);
  }
  // What the checkpoint calls it, for messages.
  virtual std::string source(const TensorId& id) = 0;

  // A tensor that the checkpoint holds once more and the model does not read.
  struct Copy {
    std::string name;  // the checkpoint's
    TensorId of;
  };
  virtual std::vector<Copy> copies() { return {}; }
  virtual bridge::Shape copy_shape(const Copy& copy) { return shape(copy.of); }
  virtual at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) {
    return rows(copy.of, begin, end);
  }
};

// For the opening of a view: every canonical tensor is there and has the shape that the configuration gives it.
void check_shapes(Weights& weights);

// How many rows of a tensor to hold at a time, for who goes through all of it.
int64_t block_rows(const bridge::Shape& shape);

// The allocator keeps freed tensors of up to 32 MiB where the next ones may not fit between them, up to several hundred MiB;
// once that is much, the system gets it back. For who reads tensor after tensor, with the shape of the next.
void return_freed_memory(const bridge::Shape& next);

struct Compute {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  bool rounded = false;  // some weights are, which what is compared with does not know
};

// The tensors of one section of a model as the forward pass wants them: of the computation's type, on its device.
class SectionWeights {
 public:
  SectionWeights(Weights& weights, const Compute& compute, Section section = Section::kModel,
                 int64_t index = 0)
      : weights_(weights), compute_(compute), section_(section), index_(index) {}

  at::Tensor get(Role role, int64_t expert = -1) const;
  // In fp32 whatever the computation's type: norms, routers.
  at::Tensor get_f32(Role role) const;
  at::Tensor rows(Role role, int64_t begin, int64_t end) const;
  // Rows of a table of integers, int64 and in the order of `rows` [n]; those that are not in [0, limit) are kBadInput.
  at::Tensor table_rows(Role role, const at::Tensor& rows, int64_t limit) const;

 private:
  at::Tensor whole(const TensorId& id) const;

  Weights& weights_;
  Compute compute_;
  Section section_;
  int64_t index_;
};

}  // namespace models
