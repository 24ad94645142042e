// Weights, from which the forward pass gets one tensor at a time by its role, and helpers for
// reading them. Nothing is kept between calls, so memory holds no more than the tensors in use,
// whatever the size of the model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/base/checked.h"
#include "models/model/model_config.h"
#include "models/model/tensor_id.h"
#include "models/weights/device_copies.h"
#include "models/weights/quantized_rows.h"
#include "models/weights/stored_layout.h"
#include "models/weights/training_settings.h"

namespace models {

// A checkpoint, read as the software it is made for would read it. Opening one checks that every
// canonical tensor exists with its shape and that every stored tensor has a use. For one thread.
class Weights {
 public:
  virtual ~Weights() = default;

  virtual const ModelConfig& config() const = 0;
  // The shape of the tensor as stored. Error: kBadInput if the checkpoint lacks the tensor.
  virtual bridge::Shape shape(const TensorId& id) = 0;
  // Rows [begin, end) of a tensor (elements of a vector) in a buffer of their own on the CPU, in
  // the stored type. Quantized tensors come in BF16, with the scale applied and one rounding.
  virtual at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) = 0;
  // The same rows, but quantized tensors come in fp32 with the scale applied and no rounding, for
  // callers that round them to another type.
  virtual at::Tensor exact_rows(const TensorId& id, int64_t begin, int64_t end) {
    return rows(id, begin, end);
  }
  // The same rows as stored, for a device that computes what rows() gives; nullopt for a tensor
  // that is not quantized, and for one that has to be put together on the CPU.
  virtual std::optional<QuantizedRows> quantized_rows(const TensorId& /*id*/, int64_t /*begin*/,
                                                      int64_t /*end*/) {
    return std::nullopt;
  }
  // The rows of a tensor in the given order, [n, ...], as rows() gives them.
  virtual at::Tensor chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen);
  // The checkpoint's name of the tensor, for messages.
  virtual std::string source(const TensorId& id) = 0;

  // The tensors of the checkpoint's files, and the parts of them that make a canonical tensor, one
  // after the other along its first axis. A training step gives gradients in this layout.
  virtual std::vector<StoredTensor> stored() { return {}; }
  virtual std::vector<StoredPart> parts(const TensorId& /*id*/) { return {}; }
  // Errors: kUnsupported for a setting with which a training step is not computed here.
  virtual TrainingSettings training() { return {}; }

  // A second stored copy of a tensor, which the model does not read.
  struct Copy {
    std::string name;  // in the checkpoint
    TensorId of;
  };
  virtual std::vector<Copy> copies() { return {}; }
  virtual bridge::Shape copy_shape(const Copy& copy) { return shape(copy.of); }
  virtual at::Tensor copy_rows(const Copy& copy, int64_t begin, int64_t end) {
    return rows(copy.of, begin, end);
  }

  // Says which experts of a layer or depth a pass is about to ask for, in ascending order. It
  // changes nothing but what is read ahead.
  virtual void expect_experts(Section /*section*/, int64_t /*index*/,
                              const std::vector<int64_t>& /*experts*/) {}
  // Says that a pass is about to wait for its device: whoever else works on that device may give it
  // more to do first, so that one wait serves both.
  virtual void before_waiting() {}
};

// Checks, when a view opens, that every canonical tensor exists and has the shape that the
// configuration gives it.
void check_shapes(Weights& weights);

// The number of rows to hold at a time when reading all of a tensor.
int64_t block_rows(const bridge::Shape& shape);

// Returns freed memory to the system once it amounts to enough to matter. The allocator keeps freed
// tensors of up to 32 MiB, and as the next ones may not fit between them, they add up to several
// hundred MiB. Call it before each tensor of a series, with the shape of that tensor.
void return_freed_memory(const bridge::Shape& next);

class LinearRule;  // models/forward/linear.h

struct Compute {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  // True if some weights are rounded and the reference logits come from unrounded ones.
  bool rounded = false;
  // False where two models are compared of which one runtime alone limits the time steps of Mamba-2
  // from below: both passes then go without.
  bool limited_steps = true;
  // Of a training step in other numbers; null: linears are x W^T.
  LinearRule* linears = nullptr;
  // Of the device; null: LibTorch computes everything, and quantized weights are dequantized on the
  // CPU.
  const cuda::KernelLibrary* kernels = nullptr;
  // To the device; null: what goes there is copied while the host waits.
  DeviceCopies* copies = nullptr;
};

// Rows on the device of the computation, the same tensor if they are there already.
at::Tensor on_device(const at::Tensor& rows, const Compute& compute);

// What Weights::rows gives, on the device of the computation. Where there are kernels, a quantized
// tensor gets there as stored.
at::Tensor device_rows(Weights& weights, const TensorId& id, int64_t begin, int64_t end,
                       const Compute& compute);

// The tensors of one section of a model, in the type and on the device of the computation.
class SectionWeights {
 public:
  SectionWeights(Weights& weights, const Compute& compute, Section section = Section::kModel,
                 int64_t index = 0)
      : weights_(weights), compute_(compute), section_(section), index_(index) {}

  at::Tensor get(Role role, int64_t expert = -1) const;
  // In fp32 whatever the computation's type, for norms and routers.
  at::Tensor get_f32(Role role) const;
  at::Tensor rows(Role role, int64_t begin, int64_t end, int64_t expert = -1) const;
  bridge::Shape shape(Role role, int64_t expert = -1) const {
    return weights_.shape(id(role, expert));
  }
  // Rows of a table of integers as int64, in the order of `rows` [n]. Numbers outside [0, limit)
  // are kBadInput.
  at::Tensor table_rows(Role role, const at::Tensor& rows, int64_t limit) const;

  // Rows of any kind, on the device of the computation.
  at::Tensor on_device(const at::Tensor& rows) const { return models::on_device(rows, compute_); }
  // What the device of the computation made, on the CPU. Waits for it.
  at::Tensor on_host(const at::Tensor& there) const;

  void expect_experts(const std::vector<int64_t>& experts) const {
    weights_.expect_experts(section_, index_, experts);
  }

  TensorId id(Role role, int64_t expert = -1) const { return {role, section_, index_, expert}; }
  LinearRule* linears() const { return compute_.linears; }

 private:
  // How many rows a tensor has that is about to be read whole.
  int64_t rows_to_read(const TensorId& id) const;
  at::Tensor computed(const TensorId& id, int64_t begin, int64_t end) const;

  Weights& weights_;
  Compute compute_;
  Section section_;
  int64_t index_;
};

}  // namespace models
