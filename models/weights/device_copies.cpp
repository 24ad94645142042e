#include "models/weights/device_copies.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstring>

namespace models {
namespace {

constexpr int64_t kLeastPerThread = 1 << 20;  // bytes
constexpr size_t kMostEvents = 256;           // each has an event of its own

at::Tensor page_locked(int64_t bytes) {
  return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
}

void copy_bytes(const at::Tensor& from, const at::Tensor& to) {
  const auto* const source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* const target = static_cast<std::byte*>(to.mutable_data_ptr());
  at::parallel_for(0, static_cast<int64_t>(from.nbytes()), kLeastPerThread,
                   [&](int64_t begin, int64_t end) {
                     std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
                   });
}

}  // namespace

DeviceCopies::DeviceCopies(at::Device device, int64_t most_ahead, int64_t piece_bytes)
    : device_(device),
      most_ahead_(most_ahead),
      piece_bytes_(piece_bytes),
      copying_(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)),
      buffers_{Buffer{page_locked(piece_bytes), c10::Event(device.type())},
               Buffer{page_locked(piece_bytes), c10::Event(device.type())}} {}

at::Tensor DeviceCopies::copy(const at::Tensor& rows) {
  const at::Tensor source = rows.contiguous();
  const c10::Stream computing = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  wait_for_room(static_cast<int64_t>(source.nbytes()), computing);
  at::Tensor there;
  {
    const c10::StreamGuard guard(copying_);
    there = at::empty(source.sizes(), source.options().device(device_));
  }
  const at::Tensor from = source.view({-1});
  const at::Tensor to = there.view({-1});
  const int64_t step = piece_bytes_ / source.element_size();
  for (int64_t begin = 0; begin < from.numel(); begin += step) {
    const int64_t count = std::min(step, from.numel() - begin);
    Buffer& buffer = fill(from.narrow(0, begin, count));
    const int64_t bytes = count * source.element_size();
    const c10::StreamGuard guard(copying_);
    to.narrow(0, begin, count)
        .copy_(buffer.memory.narrow(0, 0, bytes).view(source.scalar_type()), /*non_blocking=*/true);
    buffer.copied.record(copying_);
    if (begin + count == from.numel()) buffer.copied.block(computing);
  }
  there.record_stream(computing);
  return there;
}

DeviceCopies::Buffer& DeviceCopies::fill(const at::Tensor& piece) {
  Buffer& buffer = buffers_[next_];
  next_ = (next_ + 1) % buffers_.size();
  buffer.copied.synchronize();
  copy_bytes(piece, buffer.memory);
  return buffer;
}

void DeviceCopies::wait_for_room(int64_t bytes, const c10::Stream& computing) {
  if (!ahead_.empty()) ahead_.back().computed.record(computing);
  while (!ahead_.empty() && (ahead_bytes_ + bytes > most_ahead_ || ahead_.size() == kMostEvents)) {
    ahead_.front().computed.synchronize();
    ahead_bytes_ -= ahead_.front().bytes;
    ahead_.pop_front();
  }
  ahead_bytes_ += bytes;
  ahead_.push_back({bytes, c10::Event(device_.type())});
}

}  // namespace models
