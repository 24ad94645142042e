// What holds for the layout of any op. Each op is tested in op/.
#include "bridge/convert/algebra/op_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "mappings/op/ops.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

TEST(OpLayout, RunsAreAppended) {
  const OpLayout layout(mappings::ops::kCopy, {{4}}, {});
  std::vector<bridge::Run> runs;
  layout.forward(0, 1, runs);
  layout.forward(1, 4, runs);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1].begin, 1);
  EXPECT_EQ(runs[1].length, 3);
}

TEST(OpLayout, AnOpWithoutPartsIsABug) {
  for (const mappings::Op* op : mappings::all_ops()) {
    expect_error(Code::kInternal, "an op without parts", [&] { OpLayout(*op, {}, {}); });
  }
}

}  // namespace
}  // namespace bridge
