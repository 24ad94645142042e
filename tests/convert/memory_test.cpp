// How --memory and --threads become buffers.
#include <gtest/gtest.h>

#include "bridge/convert/convert.h"
#include "bridge/convert/export.h"
#include "bridge/convert/stream/executor.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

constexpr int64_t kKiB = 1 << 10;
constexpr int64_t kMiB = 1 << 20;

TEST(PlanExecution, LargeBudgetsGetLargeSlices) {
  MemoryBudget budget(256 * kMiB);
  const ExecutorOptions options = plan_execution(3, {}, budget);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.slice_bytes, kMiB);
  EXPECT_EQ(budget.used(), 3 * 4 * kMiB) << "what the threads may use is reserved";
}

TEST(PlanExecution, SmallerBudgetsGetSmallerSlices) {
  MemoryBudget budget(8 * kMiB);
  const ExecutorOptions options = plan_execution(4, {}, budget);
  EXPECT_EQ(options.threads, 4);
  EXPECT_EQ(options.slice_bytes, 512 * kKiB);
  EXPECT_LE(budget.used(), budget.limit());
}

TEST(PlanExecution, ThreadsAreReducedBeforeFailing) {
  MemoryBudget budget(kMiB);
  const ExecutorOptions options = plan_execution(16, {}, budget);
  EXPECT_EQ(options.threads, 4);
  EXPECT_EQ(options.slice_bytes, 64 * kKiB);
  MemoryBudget least(256 * kKiB);
  EXPECT_EQ(plan_execution(16, {}, least).threads, 1);
}

TEST(PlanExecution, WhatIsTakenAlreadyCounts) {
  MemoryBudget budget(kMiB);
  budget.reserve(kMiB / 2, "the plan");
  EXPECT_EQ(plan_execution(16, {}, budget).threads, 2);
}

TEST(PlanExecution, TooLittleNamesTheSizeNeeded) {
  MemoryBudget budget(500 * kKiB);
  budget.reserve(300 * kKiB, "the plan");
  const Error e = expect_error(Code::kUsage, "--memory 500KiB is too small: 556KiB are needed",
                               [&] { plan_execution(2, {}, budget); });
  EXPECT_EQ(e.hint(), "use --memory 556KiB or more");
  MemoryBudget enough(556 * kKiB);
  enough.reserve(300 * kKiB, "the plan");
  EXPECT_EQ(plan_execution(2, {}, enough).threads, 1);
}

// What is cut at fixed places is cut alike for any number of threads.
TEST(PlanExecution, SliceSizesAreMultiplesOfTheUnit) {
  for (const int threads : {1, 2, 3, 5, 7}) {
    MemoryBudget budget(5 * kMiB + 12345);
    const int64_t slice = plan_execution(threads, {}, budget).slice_bytes;
    EXPECT_EQ(slice % (64 * kKiB), 0) << threads;
    EXPECT_GE(slice, 64 * kKiB);
  }
}

// A matrix that is quantized again in blocks of 128 x 128.
Transfer quantized_matrix(int64_t columns) {
  const auto requantize = std::make_shared<Requantize>();
  requantize->source = {0, Dtype::kF32, 128, 128};
  Transfer transfer;
  transfer.layout = std::make_shared<OpLayout>(
      mappings::ops::kCopy, std::vector<Shape>{{1000, columns}}, mappings::OpNumbers{});
  transfer.inputs = {{0, Dtype::kBF16, {}}};
  transfer.part = 0;
  transfer.to = Dtype::kF8E4M3;
  transfer.requantize = requantize;
  return transfer;
}

TEST(PlanExecution, TilesAreAsWideAsTheWidestMatrix) {
  MemoryBudget budget(256 * kMiB);
  const ExecutorOptions options =
      plan_execution(2, {quantized_matrix(7168), quantized_matrix(128)}, budget);
  EXPECT_EQ(options.slice_bytes, kMiB);
  EXPECT_EQ(options.tile_bytes, 128 * 7168 * 2);
  EXPECT_EQ(budget.used(), 2 * 4 * options.tile_bytes);
}

TEST(PlanExecution, TilesAreNarrowerWhereMemoryIsShort) {
  MemoryBudget budget(9 * kMiB);
  const ExecutorOptions options = plan_execution(2, {quantized_matrix(7168)}, budget);
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.slice_bytes, kMiB);
  EXPECT_EQ(options.tile_bytes, kMiB + 128 * kKiB) << "an eighth of 9 MiB";
  EXPECT_LE(budget.used(), budget.limit());
  MemoryBudget large(256 * kMiB);
  EXPECT_EQ(plan_execution(2, {quantized_matrix(1 << 20)}, large).tile_bytes, 8 * kMiB)
      << "no wider than this, whatever the matrix";
}

// A transposed matrix takes boxes as large as memory allows: the larger, the longer its reads.
TEST(PlanExecution, BoxesAreAsLargeAsTheirTensor) {
  Transfer transfer;
  transfer.layout = std::make_shared<OpLayout>(
      mappings::ops::kTranspose, std::vector<Shape>{{1024, 1536}}, mappings::OpNumbers{});
  transfer.inputs = {{0, Dtype::kBF16, {}}};
  transfer.end = 1024 * 1536;
  MemoryBudget budget(256 * kMiB);
  const ExecutorOptions options = plan_execution(2, {transfer}, budget);
  EXPECT_EQ(options.slice_bytes, kMiB);
  EXPECT_EQ(options.tile_bytes, 3 * kMiB);
  EXPECT_EQ(budget.used(), 2 * 4 * options.tile_bytes);
  MemoryBudget small(8 * kMiB);
  EXPECT_EQ(plan_execution(2, {transfer}, small).tile_bytes, kMiB);
}

// Every budget that is too small is refused as such, with nothing left behind; every larger one
// gives the same files as a generous one, whatever the threads take of it.
template <typename Options, typename Run>
void sweep_budgets(const TempDir& dir, const std::string& source, Run&& run) {
  auto options = run_options<Options>(dir / source, dir / "generous");
  run(options);
  const Tree expected = tree(dir / "generous");
  options.target = dir / "out";
  const auto names = real_file_system().list(dir.path());
  int refused = 0;
  int done = 0;
  for (const int threads : {1, 4, 16}) {
    options.threads = threads;
    bool fits = false;
    for (options.memory = 16 * kKiB; options.memory < 20 * kMiB;
         options.memory += options.memory / 3) {
      SCOPED_TRACE(size_text(options.memory) + ", threads " + std::to_string(threads));
      try {
        run(options);
        fits = true;
        ++done;
        ASSERT_EQ(first_difference(expected, tree(dir / "out")), "");
        std::filesystem::remove_all(dir / "out");
      } catch (const Error& e) {
        ++refused;
        ASSERT_FALSE(fits) << "less was enough: " << e.message();
        ASSERT_EQ(e.code(), Code::kUsage) << e.message();
      }
      ASSERT_EQ(real_file_system().list(dir.path()), names);
    }
  }
  EXPECT_GT(refused, 10);
  EXPECT_GT(done, 30);
}

TEST(Memory, ConversionsNearTheMinimum) {
  const TempDir dir;
  FastFileSystem fs;
  write_tiny_model(dir / "hf", 3, false, 2);
  sweep_budgets<ConvertOptions>(dir, "hf", [&](const auto& options) { convert_hf(fs, options); });
}

TEST(Memory, ExportsNearTheMinimum) {
  const TempDir dir;
  FastFileSystem fs;
  write_tiny_model(dir / "hf", 3, false, 2);
  convert_hf(fs, run_options<ConvertOptions>(dir / "hf", dir / "megatron"));
  sweep_budgets<ExportOptions>(dir, "megatron",
                               [&](const auto& options) { export_to_hf(fs, options); });
}

}  // namespace
}  // namespace bridge
