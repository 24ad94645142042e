#include "models/weights/weights.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"
#include "models/weights/host_copy.h"

namespace models {
namespace {

constexpr int64_t kBlockElements = 4 << 20;
// The most freed memory that the allocator may keep.
constexpr size_t kMostFreed = 96 << 20;

}  // namespace

at::Tensor Weights::chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen) {
  std::vector<at::Tensor> found;
  found.reserve(chosen.size());
  for (const int64_t row : chosen) found.push_back(rows(id, row, row + 1));
  return at::cat(found);
}

void check_shapes(Weights& weights) {
  for_each_tensor(weights.config(), [&](const TensorId& id, const bridge::Shape& wanted) {
    const bridge::Shape found = weights.shape(id);
    if (found != wanted) {
      bridge::bad_input(fmt::format("{}: {} has shape {}, the configuration asks for {}",
                                    weights.source(id), to_string(id), bridge::shape_text(found),
                                    bridge::shape_text(wanted)));
    }
  });
}

int64_t block_rows(const bridge::Shape& shape) {
  return std::max<int64_t>(1, kBlockElements / (bridge::element_count(shape) / shape[0]));
}

void return_freed_memory(const bridge::Shape& next) {
  // mallinfo2 walks every free block, so it is called only after enough reads to have freed
  // kMostFreed.
  static std::atomic<size_t> read_since = 0;
  if ((read_since += static_cast<size_t>(bridge::element_count(next)) * sizeof(float)) <
      kMostFreed) {
    return;
  }
  read_since = 0;
  if (mallinfo2().fordblks > kMostFreed) malloc_trim(0);
}

at::Tensor on_device(const at::Tensor& rows, const Compute& compute) {
  if (rows.device().type() == compute.device.type()) return rows;
  // A driver that copies from ordinary memory has read it when it returns; to block would add a
  // wait for all that the device was given.
  return compute.copies != nullptr ? compute.copies->copy(rows)
                                   : rows.to(compute.device, /*non_blocking=*/true);
}

at::Tensor device_rows(Weights& weights, const TensorId& id, int64_t begin, int64_t end,
                       const Compute& compute) {
  if (compute.kernels != nullptr) {
    const std::optional<QuantizedRows> stored = weights.quantized_rows(id, begin, end);
    if (stored) {
      const QuantizedRows there{stored->format, on_device(stored->codes, compute),
                                on_device(stored->scales, compute),
                                on_device(stored->scale_row, compute), stored->block_columns};
      return values_on_device(there, *compute.kernels);
    }
  }
  return on_device(weights.rows(id, begin, end), compute);
}

int64_t SectionWeights::rows_to_read(const TensorId& id) const {
  const bridge::Shape shape = weights_.shape(id);
  return_freed_memory(shape);
  return shape.at(0);
}

at::Tensor SectionWeights::computed(const TensorId& id, int64_t begin, int64_t end) const {
  return device_rows(weights_, id, begin, end, compute_).to(compute_.dtype);
}

at::Tensor SectionWeights::get(Role role, int64_t expert) const {
  const TensorId id{role, section_, index_, expert};
  return computed(id, 0, rows_to_read(id));
}

at::Tensor SectionWeights::get_f32(Role role) const {
  const TensorId id{role, section_, index_};
  return device_rows(weights_, id, 0, rows_to_read(id), compute_).to(at::kFloat);
}

at::Tensor SectionWeights::table_rows(Role role, const at::Tensor& rows, int64_t limit) const {
  const TensorId id{role, section_, index_};
  const at::Tensor stored = weights_.rows(id, 0, rows_to_read(id));
  if (!at::isIntegralType(stored.scalar_type(), /*includeBool=*/false)) {
    bridge::bad_input(
        fmt::format("{}: {} is a table of integers", weights_.source(id), to_string(id)));
  }
  // Tables and numbers of tokens are on the CPU. Looking them up there saves a device two waits.
  const at::Tensor table = stored.to(at::kLong).index_select(0, rows);
  if (table.min().item<int64_t>() < 0 || table.max().item<int64_t>() >= limit) {
    bridge::bad_input(fmt::format("{}: {} has numbers that are not in 0 to {}", weights_.source(id),
                                  to_string(id), limit - 1));
  }
  return on_device(table);
}

at::Tensor SectionWeights::on_host(const at::Tensor& there) const {
  HostCopy copy(there, compute_);
  if (!there.is_cpu()) weights_.before_waiting();
  return copy.values();
}

at::Tensor SectionWeights::rows(Role role, int64_t begin, int64_t end, int64_t expert) const {
  return computed(id(role, expert), begin, end);
}

}  // namespace models
