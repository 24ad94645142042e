// Tests that only a few files are open at a time, and that everything written is durable before its
// descriptor closes.
#include "bridge/io/file/file_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "bridge/io/base/error.h"
#include "tests/io/file/fault_file_system.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

class FilePoolTest : public testing::Test {
 protected:
  static constexpr size_t kFiles = 10;
  FilePool pool(FilePool::Use use) {
    return FilePool(kFiles, 3, use, [this](size_t index) {
      ++opened_;
      return fs_.open_write(dir_ / std::to_string(index));
    });
  }
  int64_t count(const std::string& entry) {
    const auto log = fs_.log();
    return std::count(log.begin(), log.end(), entry);
  }

  TempDir dir_;
  FaultFileSystem fs_{real_file_system(), dir_.path()};
  int opened_ = 0;
};

TEST_F(FilePoolTest, OpensAgainWhatItClosed) {
  for (size_t i = 0; i < kFiles; ++i) put_file(dir_ / std::to_string(i), "x");
  FilePool files = pool(FilePool::Use::kRead);
  for (size_t i = 0; i < kFiles; ++i) files.get(i);
  EXPECT_EQ(opened_, 10);
  for (size_t i = kFiles - 3; i < kFiles; ++i) files.get(i);
  EXPECT_EQ(opened_, 10) << "the last three are open still";
  files.get(0);
  EXPECT_EQ(opened_, 11);
}

TEST_F(FilePoolTest, WhatIsInUseStaysOpen) {
  for (size_t i = 0; i < kFiles; ++i) put_file(dir_ / std::to_string(i), "x");
  FilePool files = pool(FilePool::Use::kRead);
  const auto used = files.get(0);
  for (size_t i = 1; i < kFiles; ++i) files.get(i);
  EXPECT_EQ(files.get(0), used);
  EXPECT_EQ(opened_, 10);
}

TEST_F(FilePoolTest, WrittenFilesAreSyncedBeforeTheyAreClosed) {
  FilePool files = pool(FilePool::Use::kWrite);
  for (size_t i = 0; i < kFiles; ++i) files.put(i, fs_.create(dir_ / std::to_string(i)));
  EXPECT_EQ(count("sync 0"), 1);
  EXPECT_EQ(count("sync 9"), 0);
  files.get(0)->write_at(0, std::as_bytes(std::span("x", 1)));
  files.sync();
  EXPECT_EQ(count("sync 0"), 2);
  for (size_t i = 1; i < kFiles; ++i) EXPECT_EQ(count("sync " + std::to_string(i)), 1) << i;
}

TEST_F(FilePoolTest, OthersGetFilesWhileItSyncs) {
  FilePool files = pool(FilePool::Use::kWrite);
  for (size_t i = 0; i < kFiles; ++i) files.put(i, fs_.create(dir_ / std::to_string(i)));
  std::jthread syncing([&] {
    for (int round = 0; round < 100; ++round) files.sync();
  });
  for (size_t i = 0; i < 1000; ++i) {
    files.get(i % kFiles)->write_at(0, std::as_bytes(std::span("x", 1)));
  }
}

TEST_F(FilePoolTest, AFailedSyncIsNotForgotten) {
  FilePool files = pool(FilePool::Use::kWrite);
  for (size_t i = 0; i < 3; ++i) files.put(i, fs_.create(dir_ / std::to_string(i)));
  fs_.fail_at(fs_.count() + 1, EIO);
  EXPECT_THROW(files.put(3, fs_.create(dir_ / "3")), Error);
}

}  // namespace
}  // namespace bridge
