#include "models/compare/device_difference.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstddef>
#include <string>

#include "bridge/io/base/error.h"

namespace models {
namespace {

cuda::ElementFormat element_format(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return cuda::ElementFormat::kBF16;
    case at::kHalf:
      return cuda::ElementFormat::kF16;
    case at::kFloat:
      return cuda::ElementFormat::kF32;
    default:
      bridge::internal_error(std::string("comparison on a GPU of ") + at::toString(type));
  }
}

}  // namespace

DeviceDifference difference_on_device(const at::Tensor& a, const at::Tensor& b,
                                      const cuda::KernelLibrary& kernels) {
  const at::Tensor ours = a.contiguous();
  const at::Tensor theirs = b.contiguous();
  cuda::Comparison job{ours.const_data_ptr(), theirs.const_data_ptr(), ours.numel(),
                       element_format(ours.scalar_type()), nullptr};
  // The total, and then what each block of threads finds.
  const int64_t bytes = (1 + job.blocks()) * static_cast<int64_t>(sizeof(cuda::Difference));
  at::Tensor found = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(ours.device()));
  auto* const total = static_cast<cuda::Difference*>(found.mutable_data_ptr());
  job.found = total + 1;
  const c10::impl::VirtualGuardImpl guard(ours.device().type());
  kernels.compare(job, total, ours.device().index(),
                  guard.getStream(ours.device()).native_handle());
  const auto field = [&](size_t offset, size_t size, at::ScalarType type) {
    // A copy, so that what the blocks found is not kept.
    return found.narrow(0, static_cast<int64_t>(offset), static_cast<int64_t>(size))
        .view(type)
        .select(0, 0)
        .clone();
  };
  return {field(offsetof(cuda::Difference, different), sizeof(int64_t), at::kLong),
          field(offsetof(cuda::Difference, largest), sizeof(float), at::kFloat)};
}

}  // namespace models
