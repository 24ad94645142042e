// Values that a device computed, on their way to the host.
//
// Making one queues the copy; values() waits, if they are not here yet, for all that the stream was
// given until then. So several copies that are made before the first values() is called cost one
// wait.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>

#include "models/weights/weights.h"

namespace models {

// For one thread at a time.
class HostCopy {
 public:
  // there: a tensor on the device of the computation or on the CPU, where nothing is copied.
  // Without Compute::copies the copy is made at once. Errors: those of LibTorch.
  HostCopy(const at::Tensor& there, const Compute& compute);

  // On the CPU, of the shape and type of `there`.
  at::Tensor values();

 private:
  at::Tensor here_;
  at::Device from_;
  std::optional<c10::Event> copied_;
};

}  // namespace models
