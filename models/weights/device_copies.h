// Brings rows from the host to the device of the computation while that computes.
//
//   1. Rows pass through two page-locked buffers, in turns and piece by piece. From any other
//      memory the driver copies through a buffer of its own, and the host would wait for the
//      device.
//   2. A stream of its own copies the pieces. An event behind each says when its buffer may be
//      filled again, which is all that the host waits for.
//   3. The stream that computes waits for the event of the last piece, on the device. The host goes
//      on to read the next rows.
//   4. The memory there is allocated under the copying stream: the allocator would otherwise give
//      memory that queued work of the computing stream still reads. record_stream() keeps it until
//      the computing stream has passed what uses it.
//   5. Before the host is more than a number of bytes ahead of the device, it waits for the
//      computing that was queued up to the next copy after the oldest one. So weights that are no
//      longer needed do not pile up there.
// Truth: torch.Tensor.record_stream; c10/core/Event.h; CUDA C++ Programming Guide, "Asynchronous
// Concurrent Execution" and cudaMemcpyAsync, "API synchronization behavior".
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace models {

// For one thread at a time.
class DeviceCopies {
 public:
  static constexpr int64_t kPieceBytes = 16 << 20;  // of each of the two buffers

  // device: one with streams and events, and with page-locked memory for it. most_ahead: bytes of
  // copies, of which one that is larger may be under way alone. piece_bytes: at least 8.
  DeviceCopies(at::Device device, int64_t most_ahead, int64_t piece_bytes = kPieceBytes);
  DeviceCopies(const DeviceCopies&) = delete;
  DeviceCopies& operator=(const DeviceCopies&) = delete;

  // The same rows on the device, contiguous, for the stream that is the current one there. `rows`
  // are on the CPU, and nobody reads them any more when this returns. Errors: those of LibTorch.
  at::Tensor copy(const at::Tensor& rows);

 private:
  struct Buffer {
    at::Tensor memory;  // bytes, page-locked
    c10::Event copied;  // behind the last piece that was copied out of it
  };
  struct Ahead {
    int64_t bytes;
    c10::Event computed;  // behind what was queued up to the next copy
  };

  Buffer& fill(const at::Tensor& piece);
  void wait_for_room(int64_t bytes, const c10::Stream& computing);

  at::Device device_;
  int64_t most_ahead_;
  int64_t piece_bytes_;
  c10::Stream copying_;
  std::array<Buffer, 2> buffers_;
  size_t next_ = 0;  // the buffer that is filled next
  std::deque<Ahead> ahead_;
  int64_t ahead_bytes_ = 0;
};

}  // namespace models
