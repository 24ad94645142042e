// Tensors of a safetensors file among the test data, which other software computed.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <string>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/hf/safetensors.h"
#include "models/weights/tensor_bytes.h"
#include "tests/io/file/memory_file.h"

namespace models {

inline at::Tensor expected_tensor(const std::string& file, const std::string& name) {
  const bridge::MemoryFile bytes(bridge::read_data(file));
  bridge::MemoryBudget budget(1 << 24);
  const bridge::SafetensorsHeader header = bridge::read_safetensors_header(bytes, budget);
  for (const bridge::SafetensorsEntry& entry : header.entries) {
    if (entry.name != name) continue;
    at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(torch_type(entry.dtype)));
    bytes.read_at(header.payload_offset + entry.begin, bytes_of(out));
    return out;
  }
  bridge::bad_input("no tensor " + name + " in " + file);
}

}  // namespace models
