// Tests the lock of file systems without flock: who holds it, and when it is stale.
#include "bridge/io/file/lease.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

class LeaseTest : public testing::Test {
 protected:
  std::unique_ptr<Lock> take() { return try_lease(real_file_system(), dir_ / "lock"); }
  static std::string host() {
    std::string name(256, '\0');
    ::gethostname(name.data(), name.size());
    return name.c_str();
  }
  // Returns the number of a process that has ended.
  static pid_t gone() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
  }
  void held_by(const std::string& host, pid_t process, const std::string& started) {
    put_file(lease_, host + " " + std::to_string(process) + " " + started + "\n");
  }

  TempDir dir_;
  const Path lease_ = dir_ / "lock.lease";
};

TEST_F(LeaseTest, OneAtATime) {
  auto first = take();
  ASSERT_NE(first, nullptr);
  EXPECT_NE(first->notice().find("lock.lease"), std::string::npos);
  EXPECT_EQ(take(), nullptr);
  EXPECT_TRUE(std::filesystem::exists(lease_));
  first.reset();
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
  EXPECT_NE(take(), nullptr);
}

TEST_F(LeaseTest, OfAProcessThatIsGone) {
  held_by(host(), gone(), "1");
  EXPECT_NE(take(), nullptr);
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

TEST_F(LeaseTest, OfANumberThatAnotherProcessHasNow) {
  held_by(host(), ::getpid(), "1");
  EXPECT_NE(take(), nullptr);
}

TEST_F(LeaseTest, OfAnotherHostIsForAPersonToJudge) {
  held_by("elsewhere", gone(), "1");
  try {
    take();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kIo);
    EXPECT_NE(e.message().find("elsewhere"), std::string::npos);
    EXPECT_NE(e.hint().find("remove this file"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ / "lock.lease.takeover"));
}

TEST_F(LeaseTest, WithoutAHolderNobodyTakesIt) {
  put_file(lease_, "");  // its creator is about to write into it
  EXPECT_EQ(take(), nullptr);
}

TEST_F(LeaseTest, OnlyOneProcessTakesOver) {
  held_by(host(), gone(), "1");
  put_file(dir_ / "lock.lease.takeover", "");
  EXPECT_EQ(take(), nullptr);
}

}  // namespace
}  // namespace bridge
