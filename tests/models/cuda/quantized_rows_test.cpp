// Quantized rows as a view gives them for a GPU: the kernel, run on the CPU over the whole grid,
// makes the values that the view itself gives.
#include "models/weights/quantized_rows.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/hf/view.h"
#include "tests/data_dir.h"
#include "tests/models/cuda/host_grid.h"

namespace models {
namespace {

at::Tensor on_the_grid(const QuantizedRows& rows) {
  at::Tensor values = at::empty({rows.codes.size(0), rows.columns()}, at::kBFloat16);
  cuda::run_map(dequantization_of(rows, values));
  return values;
}

// The number of quantized tensors, of which all rows and a few are compared.
int compare_all(const std::string& folder) {
  bridge::MemoryBudget budget(64 << 20);
  const std::unique_ptr<Weights> weights =
      open_hf_weights(bridge::real_file_system(), data_dir() + "/" + folder, budget);
  int quantized = 0;
  for_each_tensor(weights->config(), [&](const TensorId& id, const bridge::Shape& shape) {
    const int64_t rows = shape[0];
    const int64_t middle = rows / 3;
    for (const auto& [begin, end] : {std::pair(int64_t{0}, rows), {middle, middle + 1}}) {
      const std::optional<QuantizedRows> stored = weights->quantized_rows(id, begin, end);
      if (!stored) return;
      EXPECT_TRUE(on_the_grid(*stored).equal(weights->rows(id, begin, end))) << to_string(id);
    }
    ++quantized;
  });
  return quantized;
}

TEST(QuantizedRows, OfFp8) {
  EXPECT_GT(compare_all("deepseek_v3_fp8/hf"), 10);
}

TEST(QuantizedRows, OfFp8AndFp4) {
  EXPECT_GT(compare_all("deepseek_v4_fp8fp4/hf"), 10);
}

// Nothing is quantized there.
TEST(QuantizedRows, OfBf16) {
  EXPECT_EQ(compare_all("mistral/hf"), 0);
}

}  // namespace
}  // namespace models
