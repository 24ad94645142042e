// That the fault-injecting file system numbers, stops, fails, tears and forgets as it says; the
// crash tests of everything else stand on it.
#include "tests/io/file/fault_file_system.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <thread>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;
using Stopped = FaultFileSystem::Stopped;

static_assert(!std::is_base_of_v<std::exception, Stopped>);

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class FaultFileSystemTest : public testing::Test {
 protected:
  TempDir dir_;
  FaultFileSystem fs_{real_file_system(), dir_.path()};
};

TEST_F(FaultFileSystemTest, NumbersAndNamesEveryOperation) {
  const auto file = fs_.create(dir_ / "a");
  file->allocate(8);
  file->write_at(2, bytes("xyz"));
  file->sync();
  std::string out(3, ' ');
  fs_.open_read(dir_ / "a")->read_at(2, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, "xyz");
  fs_.open_write(dir_ / "a");
  fs_.make_dir(dir_ / "d");
  fs_.rename(dir_ / "a", dir_ / "d/b");
  EXPECT_TRUE(fs_.symlink("d", dir_ / "l"));
  EXPECT_EQ(fs_.read_link(dir_ / "l"), "d");
  EXPECT_EQ(fs_.real_path(dir_ / "l"), dir_ / "d");
  EXPECT_TRUE(fs_.stat(dir_ / "d"));
  EXPECT_FALSE(fs_.lstat(dir_ / "e"));
  EXPECT_TRUE(fs_.exchange(dir_ / "d", dir_ / "l"));
  EXPECT_EQ(fs_.list(dir_.path()).size(), 2u);
  fs_.remove_file(dir_ / "l/b");
  fs_.remove_dir(dir_ / "l");
  fs_.sync_dir(dir_.path());
  EXPECT_NE(fs_.try_lock(dir_ / "k"), nullptr);
  EXPECT_GT(fs_.free_bytes("/"), 0);
  const std::vector<std::string> expected = {
      "create a",    "allocate a 8",    "write a 2+3",  "sync a",          "open a",
      "read a",      "open_write a",    "make_dir d",   "rename a -> d/b", "symlink l -> d",
      "read_link l", "real_path l",     "stat d",       "lstat e",         "exchange d <-> l",
      "list .",      "remove_file l/b", "remove_dir l", "sync_dir .",      "lock k",
      "free_bytes /"};
  EXPECT_EQ(fs_.log(), expected);
  EXPECT_EQ(fs_.count(), static_cast<int64_t>(expected.size()));
  EXPECT_FALSE(fs_.stopped());
}

TEST_F(FaultFileSystemTest, StopsForGood) {
  fs_.stop_at(3);
  fs_.make_dir(dir_ / "one");
  fs_.make_dir(dir_ / "two");
  EXPECT_THROW(fs_.make_dir(dir_ / "three"), Stopped);
  EXPECT_TRUE(fs_.stopped());
  EXPECT_THROW(fs_.make_dir(dir_ / "four"), Stopped);
  EXPECT_THROW(fs_.remove_dir(dir_ / "one"), Stopped);
  EXPECT_TRUE(stdfs::exists(dir_ / "one"));
  EXPECT_TRUE(stdfs::exists(dir_ / "two"));
  EXPECT_FALSE(stdfs::exists(dir_ / "three"));
  EXPECT_FALSE(stdfs::exists(dir_ / "four"));
  EXPECT_EQ(fs_.count(), 3);
}

TEST_F(FaultFileSystemTest, StoppedLocksAreReleased) {
  fs_.stop_at(2);
  {
    const auto lock = fs_.try_lock(dir_ / "lock");
    EXPECT_THROW(fs_.remove_file(dir_ / "lock"), Stopped);
    EXPECT_EQ(real_file_system().try_lock(dir_ / "lock"), nullptr);
  }
  EXPECT_NE(real_file_system().try_lock(dir_ / "lock"), nullptr);
}

TEST_F(FaultFileSystemTest, FailsOnceWithTheErrorAsked) {
  fs_.fail_at(2, ENOSPC);
  fs_.make_dir(dir_ / "one");
  try {
    fs_.make_dir(dir_ / "two");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kIo);
    EXPECT_EQ(e.message(), (dir_ / "two").native() + ": make_dir: No space left on device");
  }
  EXPECT_FALSE(stdfs::exists(dir_ / "two"));
  fs_.make_dir(dir_ / "two");
  EXPECT_TRUE(stdfs::exists(dir_ / "two"));
}

TEST_F(FaultFileSystemTest, AFailedWriteIsTorn) {
  const auto file = fs_.create(dir_ / "f");
  fs_.fail_at(2, EIO);
  EXPECT_THROW(file->write_at(0, bytes("abcdef")), Error);
  EXPECT_EQ(file_content(dir_ / "f"), "abc");
}

TEST_F(FaultFileSystemTest, AFailedSyncStaysFailed) {
  const auto file = fs_.create(dir_ / "f");
  fs_.fail_at(2, EIO);
  EXPECT_THROW(file->sync(), Error);
  EXPECT_THROW(file->sync(), Error);
}

TEST_F(FaultFileSystemTest, AStopKeepsUnsyncedDataByDefault) {
  const auto file = fs_.create(dir_ / "f");
  file->write_at(0, bytes("abcdef"));
  fs_.stop_at(3);
  EXPECT_THROW(file->write_at(6, bytes("ghij")), Stopped);
  EXPECT_EQ(file_content(dir_ / "f"), "abcdefgh");
}

TEST_F(FaultFileSystemTest, DropUnsyncedForgetsWhatWasNotSynced) {
  put_file(dir_ / "before", "untouched");
  put_file(dir_ / "shared", "0123456789");
  fs_.drop_unsynced();
  const auto never = fs_.create(dir_ / "never");
  never->allocate(4);
  never->write_at(0, bytes("abcd"));
  const auto tail = fs_.create(dir_ / "tail");
  tail->write_at(0, bytes("kept"));
  tail->sync();
  tail->write_at(4, bytes("lost"));
  const auto inside = fs_.create(dir_ / "inside");
  inside->allocate(6);
  inside->write_at(0, bytes("ab"));
  inside->sync();
  inside->write_at(1, bytes("XYZ"));
  inside->write_at(2, bytes("!"));
  const auto old = fs_.open_write(dir_ / "shared");
  old->write_at(3, bytes("abc"));
  old->allocate(4);
  old->allocate(12);
  fs_.rename(dir_ / "never", dir_ / "renamed");
  fs_.stop_at(fs_.count() + 1);
  EXPECT_THROW(fs_.list(dir_.path()), Stopped);
  EXPECT_EQ(file_content(dir_ / "before"), "untouched");
  EXPECT_EQ(file_content(dir_ / "renamed"), "");
  EXPECT_EQ(file_content(dir_ / "tail"), "kept");
  EXPECT_EQ(file_content(dir_ / "inside"), std::string("ab\0\0\0\0", 6));
  EXPECT_EQ(file_content(dir_ / "shared"), "0123456789");
}

TEST_F(FaultFileSystemTest, TwoHandlesAreOneFile) {
  fs_.drop_unsynced();
  const auto first = fs_.create(dir_ / "f");
  first->write_at(0, bytes("abcd"));
  const auto second = fs_.open_write(dir_ / "f");  // not synced yet: nothing to go back to
  second->write_at(2, bytes("XY"));
  second->sync();
  first->write_at(0, bytes("!"));
  fs_.stop_at(fs_.count() + 1);
  EXPECT_THROW(first->sync(), Stopped);
  EXPECT_EQ(file_content(dir_ / "f"), "abXY");
}

TEST_F(FaultFileSystemTest, FeaturesCanBeMissing) {
  put_file(dir_ / "a", "1");
  put_file(dir_ / "b", "2");
  fs_.without_exchange();
  fs_.without_symlinks();
  EXPECT_FALSE(fs_.exchange(dir_ / "a", dir_ / "b"));
  EXPECT_FALSE(fs_.symlink("a", dir_ / "l"));
  EXPECT_EQ(file_content(dir_ / "a"), "1");
  EXPECT_FALSE(stdfs::exists(stdfs::symlink_status(dir_ / "l")));
}

// Whatever the timing, what is left is what was synced.
TEST_F(FaultFileSystemTest, StopsWhileThreadsWrite) {
  for (int round = 0; round < 20; ++round) {
    const TempDir dir;
    FaultFileSystem fs(real_file_system());
    fs.drop_unsynced();
    fs.stop_at(50 + round);
    std::atomic<int> stopped = 0;
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          try {
            const auto file = fs.create(dir / std::to_string(t));
            file->write_at(0, bytes("durable."));
            file->sync();
            for (int i = 0;; ++i) file->write_at(i % 16, bytes("overwritten"));
          } catch (const Stopped&) {
            ++stopped;
          }
        });
      }
    }
    EXPECT_EQ(stopped, 4);
    for (int t = 0; t < 4; ++t) {
      if (!stdfs::exists(dir / std::to_string(t))) continue;
      const std::string content = file_content(dir / std::to_string(t));
      EXPECT_TRUE(content == "durable." || content.empty()) << content;
    }
  }
}

}  // namespace
}  // namespace bridge
