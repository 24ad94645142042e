// Stops and fails a conversion and an export of tiny models, a dense one cast to FP16 and one with
// experts in FP8, at every operation of the file system. Whatever happened, the target's name shows
// nothing or the whole output. After a failure that the process survives, nothing else is left. The
// next run succeeds.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/convert/commands.h"

namespace bridge {
namespace {

class CrashTest : public CommandTest {};

TEST_P(CrashTest, StoppedAtEveryOperation) {
  int64_t absent = 0;
  int64_t complete = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.stop_at(k);
    fs.drop_unsynced();
    try {
      run(fs, target_);
    } catch (const FaultFileSystem::Stopped&) {
    }
    SCOPED_TRACE("operation " + std::to_string(k) + ": " + fs.log().back());
    const bool there = std::filesystem::exists(target_);
    if (there) {
      EXPECT_EQ(shown(), "");
    }
    if (!fs.stopped()) {
      EXPECT_TRUE(there);
      break;
    }
    ++(there ? complete : absent);

    FastFileSystem next;
    run(next, target_, [&](OutputOptions& options) { options.overwrite = there; });
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(names(), std::vector<std::string>{"out"});
    if (HasFailure()) return;
  }
  EXPECT_GT(absent, 140);
  EXPECT_GT(complete, 0) << "after the commit";
}

TEST_P(CrashTest, FailedAtEveryOperation) {
  int64_t failed = 0;
  int64_t ignored = 0;
  for (int64_t k = 1;; ++k) {
    clear();
    FaultFileSystem fs(real_file_system(), dir_.path());
    fs.fail_at(k, k % 2 == 0 ? EIO : ENOSPC);
    std::string message;
    try {
      run(fs, target_);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kIo) << e.message();
      message = e.message();
    }
    const bool done = fs.count() < k;
    SCOPED_TRACE("operation " + std::to_string(k) + ": " +
                 fs.log()[static_cast<size_t>(std::min(k, fs.count())) - 1]);
    if (message.empty()) {
      EXPECT_EQ(shown(), "");
    } else {
      EXPECT_EQ(names(), std::vector<std::string>{}) << message;
    }
    if (done || HasFailure()) break;
    ++(message.empty() ? ignored : failed);
  }
  EXPECT_GT(failed, 140);
  EXPECT_LE(ignored, 4) << "only the clean-up after the commit may be";
}

INSTANTIATE_TEST_SUITE_P(Commands, CrashTest, all_commands(), command_name);

}  // namespace
}  // namespace bridge
