#include "models/weights/reused_memory.h"

#include <gtest/gtest.h>

namespace models {
namespace {

constexpr size_t kMiB = 1 << 20;

TEST(ReusedMemory, GivesAFreedBlockAgain) {
  ReusedMemory memory;
  void* const block = memory.take(8 * kMiB);
  memory.give_back(block);
  EXPECT_EQ(memory.kept_bytes(), 8 * kMiB);
  // Nearly as large, too; a much smaller one gets a block of its own.
  void* const small = memory.take(2 * kMiB);
  EXPECT_NE(small, block);
  void* const again = memory.take(7 * kMiB);
  EXPECT_EQ(again, block);
  EXPECT_EQ(memory.kept_bytes(), 0);
  void* const other = memory.take(7 * kMiB);
  EXPECT_NE(other, block);
  for (void* const used : {small, again, other}) memory.give_back(used);
  EXPECT_EQ(memory.kept_bytes(), (2 + 8 + 7) * kMiB);
}

TEST(ReusedMemory, KeepsNoMoreThanItsLimit) {
  ReusedMemory memory;
  void* const first = memory.take(60 * kMiB);
  void* const second = memory.take(50 * kMiB);
  void* const third = memory.take(40 * kMiB);
  for (void* const block : {first, second, third}) memory.give_back(block);
  EXPECT_EQ(memory.kept_bytes(), 90 * kMiB);
  void* const large = memory.take(ReusedMemory::kMostKept + 1);
  memory.give_back(large);
  EXPECT_EQ(memory.kept_bytes(), 0);
}

TEST(ReusedMemory, DoesNotKeepSmallBlocks) {
  ReusedMemory memory;
  memory.give_back(memory.take(ReusedMemory::kLeast - 1));
  memory.give_back(memory.take(0));
  EXPECT_EQ(memory.kept_bytes(), 0);
}

}  // namespace
}  // namespace models
