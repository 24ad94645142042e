// How --memory and --threads become buffers.
#include <gtest/gtest.h>

#include "bridge/convert/convert.h"
#include "bridge/convert/executor.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

constexpr int64_t kKiB = 1 << 10;
constexpr int64_t kMiB = 1 << 20;

TEST(PlanExecution, LargeBudgetsGetLargeSlices) {
  MemoryBudget budget(256 * kMiB);
  const ExecutorOptions options = plan_execution(3, budget);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.slice_bytes, kMiB);
  EXPECT_EQ(budget.used(), 3 * 4 * kMiB) << "what the threads may use is reserved";
}

TEST(PlanExecution, SmallerBudgetsGetSmallerSlices) {
  MemoryBudget budget(8 * kMiB);
  const ExecutorOptions options = plan_execution(4, budget);
  EXPECT_EQ(options.threads, 4);
  EXPECT_EQ(options.slice_bytes, 512 * kKiB);
  EXPECT_LE(budget.used(), budget.limit());
}

TEST(PlanExecution, ThreadsAreReducedBeforeFailing) {
  MemoryBudget budget(kMiB);
  const ExecutorOptions options = plan_execution(16, budget);
  EXPECT_EQ(options.threads, 4);
  EXPECT_EQ(options.slice_bytes, 64 * kKiB);
  MemoryBudget least(256 * kKiB);
  EXPECT_EQ(plan_execution(16, least).threads, 1);
}

TEST(PlanExecution, WhatIsTakenAlreadyCounts) {
  MemoryBudget budget(kMiB);
  budget.reserve(kMiB / 2, "the plan");
  EXPECT_EQ(plan_execution(16, budget).threads, 2);
}

TEST(PlanExecution, TooLittleNamesTheSizeNeeded) {
  MemoryBudget budget(500 * kKiB);
  budget.reserve(300 * kKiB, "the plan");
  const Error e = expect_error(Code::kUsage, "--memory 500KiB is too small: 556KiB are needed",
                               [&] { plan_execution(2, budget); });
  EXPECT_EQ(e.hint(), "use --memory 556KiB or more");
  MemoryBudget enough(556 * kKiB);
  enough.reserve(300 * kKiB, "the plan");
  EXPECT_EQ(plan_execution(2, enough).threads, 1);
}

TEST(PlanExecution, SliceSizesAreWholePages) {
  MemoryBudget budget(kMiB + 12345);
  EXPECT_EQ(plan_execution(3, budget).slice_bytes % 4096, 0);
}

// Every budget that is too small is refused as such, with nothing left behind; the first that is
// not gives the same files as a generous one.
TEST(Memory, ConversionsNearTheMinimum) {
  const TempDir dir;
  FastFileSystem fs;
  write_tiny_model(dir / "hf", 3);
  convert_hf(fs, run_options<ConvertOptions>(dir / "hf", dir / "generous"));
  auto options = run_options<ConvertOptions>(dir / "hf", dir / "tight");
  int refused = 0;
  for (options.memory = 16 * kKiB;; options.memory += options.memory / 4) {
    ASSERT_LT(options.memory, 16 * kMiB);
    try {
      convert_hf(fs, options);
      break;
    } catch (const Error& e) {
      ++refused;
      ASSERT_EQ(e.code(), Code::kUsage) << e.message();
      ASSERT_EQ(fs.list(dir.path()), (std::vector<std::string>{"generous", "hf"}));
    }
  }
  EXPECT_GT(refused, 2);
  EXPECT_EQ(first_difference(tree(dir / "generous"), tree(dir / "tight")), "");
}

}  // namespace
}  // namespace bridge
