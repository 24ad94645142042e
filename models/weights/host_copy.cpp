#include "models/weights/host_copy.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace models {

HostCopy::HostCopy(const at::Tensor& there, const Compute& compute) : from_(there.device()) {
  if (there.is_cpu() || compute.copies == nullptr) {
    here_ = there.to(at::kCPU);
    return;
  }
  const at::Tensor values = there.contiguous();
  here_ = at::empty(values.sizes(), at::TensorOptions(values.scalar_type()).pinned_memory(true));
  here_.copy_(values, /*non_blocking=*/true);
  copied_.emplace(from_.type());
  copied_->record(c10::impl::VirtualGuardImpl(from_.type()).getStream(from_));
}

at::Tensor HostCopy::values() {
  if (copied_ && !copied_->query()) {
    c10::impl::VirtualGuardImpl(from_.type()).getStream(from_).synchronize();
  }
  copied_.reset();
  return here_;
}

}  // namespace models
