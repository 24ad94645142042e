// States that one process writes and the next one reads.
#include "models/verify/state_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <c10/util/accumulate.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace models {
namespace {

at::Tensor numbers(at::IntArrayRef shape, double offset, at::ScalarType type = at::kFloat) {
  const int64_t count = c10::multiply_integers(shape);
  return (at::arange(count, at::kDouble) * 0.1 + offset).to(type).view(shape);
}

class StateFileTest : public testing::Test {
 protected:
  std::optional<LayerStates> read(const std::string& launch = "abc") {
    bridge::MemoryBudget budget(1 << 20);
    return read_states(fs_, path_, launch, budget);
  }

  bridge::TempDir dir_;
  bridge::FileSystem& fs_ = bridge::real_file_system();
  const bridge::Path path_ = dir_ / "report.json.rank-0.state";
};

TEST_F(StateFileTest, KeepsEveryBit) {
  LayerStates states;
  states.a.hidden = numbers({2, 3, 4, 5}, 0).transpose(1, 2);
  states.b.hidden = numbers({2, 3, 4}, 7, at::kBFloat16);
  states.b.indices[0] = {numbers({2, 3, 1, 4}, 1, at::kBFloat16), numbers({2, 3, 4}, 2),
                         numbers({2, 3, 1}, 3)};
  states.b.indices[12] = {numbers({2, 3, 1, 4}, 4), numbers({2, 3, 4}, 5), numbers({2, 3, 1}, 6)};
  write_states(fs_, path_, "abc", states);
  const LayerStates found = read().value();
  EXPECT_TRUE(at::equal(found.a.hidden, states.a.hidden));
  EXPECT_TRUE(found.a.indices.empty());
  EXPECT_EQ(found.b.hidden.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(found.b.hidden, states.b.hidden));
  ASSERT_EQ(found.b.indices.size(), 2U);
  for (const auto& [token, index] : states.b.indices) {
    const IndexedTokens& read_index = found.b.indices.at(token);
    EXPECT_TRUE(at::equal(read_index.q, index.q));
    EXPECT_TRUE(at::equal(read_index.keys, index.keys));
    EXPECT_TRUE(at::equal(read_index.weights, index.weights));
  }
  EXPECT_EQ(fs_.list(dir_.path()).size(), 1U);
}

TEST_F(StateFileTest, IsOfOneLaunch) {
  EXPECT_FALSE(read().has_value());
  write_states(fs_, path_, "abd", {{numbers({1, 2, 3}, 0), {}}, {numbers({1, 2, 3}, 0), {}}});
  EXPECT_FALSE(read().has_value());
  EXPECT_TRUE(read("abd").has_value());
}

TEST_F(StateFileTest, RefusesOtherFiles) {
  bridge::put_file(path_, "no state");
  EXPECT_THROW(read(), bridge::Error);
}

}  // namespace
}  // namespace models
