// The progress line with a clock of the test's own, and the way out on a signal.
#include "bridge/io/base/progress.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include "bridge/io/base/interrupt.h"

namespace bridge {
namespace {

using namespace std::chrono_literals;
using testing::ExitedWithCode;
using testing::KilledBySignal;

constexpr int64_t kTotal = 100'000'000'000;

class ProgressTest : public testing::Test {
 protected:
  Progress::Output output(bool terminal, int columns = 200) {
    return {.write = [this](std::string_view text) { writes_.emplace_back(text); },
            .now = [this] { return now_; },
            .terminal = terminal,
            .columns = columns};
  }

  // What the line says up to the memory, which is not for a test to know.
  std::string said(size_t i) const { return writes_.at(i).substr(0, writes_.at(i).rfind("  ")); }

  Progress::Time now_{};
  std::vector<std::string> writes_;
};

TEST_F(ProgressTest, ATerminalLineIsRewritten) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
  now_ += 1s;
  progress.add(2'500'000'000);
  ASSERT_EQ(writes_.size(), 1u);
  EXPECT_EQ(said(0), "\rconvert: 2.50 / 100.00 GB    2%  2.50 GB/s  39s left");
  EXPECT_TRUE(writes_[0].ends_with(" MiB resident\x1b[K")) << writes_[0];
}

TEST_F(ProgressTest, ATerminalIsDrawnAtMostFiveTimesASecond) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
  for (int i = 0; i < 10'000; ++i) {
    now_ += 1ms;
    progress.add(1);
  }
  EXPECT_EQ(writes_.size(), 50u);
}

TEST_F(ProgressTest, ALogGetsALineEveryTenSeconds) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(false));
  for (int i = 0; i < 35; ++i) {
    now_ += 1s;
    progress.add(1'000'000'000);
  }
  progress.finish();
  ASSERT_EQ(writes_.size(), 4u);
  EXPECT_EQ(said(0), "convert: 10.00 / 100.00 GB   10%  1.00 GB/s  1m30s left");
  EXPECT_EQ(said(3), "convert: 35.00 / 100.00 GB   35%  1.00 GB/s  1m05s left");
  for (const std::string& line : writes_) {
    EXPECT_EQ(line.find('\r'), std::string::npos);
    EXPECT_TRUE(line.ends_with(" MiB resident\n"));
  }
}

TEST_F(ProgressTest, AShortRunIsSilentInALogUnlessAskedFor) {
  for (const ProgressMode mode : {ProgressMode::kAuto, ProgressMode::kAlways}) {
    writes_.clear();
    Progress progress(mode, false, "convert", 50'000'000, output(false));
    now_ += 500ms;
    progress.add(50'000'000);
    progress.finish();
    ASSERT_EQ(writes_.size(), mode == ProgressMode::kAlways ? 1u : 0u);
  }
  EXPECT_EQ(said(0), "convert: 0.05 / 0.05 GB  100%  0.10 GB/s");
}

TEST_F(ProgressTest, NeverAndQuietAreSilent) {
  for (const bool quiet : {false, true}) {
    Progress progress(quiet ? ProgressMode::kAlways : ProgressMode::kNever, quiet, "convert",
                      kTotal, output(true));
    now_ += 60s;
    progress.add(1);
    progress.finish();
  }
  EXPECT_TRUE(writes_.empty());
}

TEST_F(ProgressTest, TheRateForgetsWhatIsLongAgo) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
  now_ += 1s;
  progress.add(50'000'000'000);
  for (int i = 0; i < 60; ++i) {
    now_ += 1s;
    progress.add(100'000'000);
  }
  EXPECT_EQ(said(60), "\rconvert: 56.00 / 100.00 GB   56%  0.10 GB/s  7m20s left");
}

TEST_F(ProgressTest, WhatAnEarlierRunDidCountsForNoRate) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
  progress.start_at(60'000'000'000);
  now_ += 1s;
  progress.add(2'000'000'000);
  progress.finish();
  ASSERT_EQ(writes_.size(), 2u);
  EXPECT_EQ(said(0), "\rconvert: 62.00 / 100.00 GB   62%  2.00 GB/s  19s left");
  EXPECT_EQ(said(1), "\rconvert: 62.00 / 100.00 GB   62%  2.00 GB/s  19s left");
}

TEST_F(ProgressTest, LongAndUnknownTimes) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
  now_ += 1s;
  progress.add(10'000'000);
  EXPECT_EQ(said(0), "\rconvert: 0.01 / 100.00 GB    0%  0.01 GB/s  2h46m left");
  now_ += 60s;
  progress.add(0);
  now_ += 60s;
  progress.add(0);
  EXPECT_EQ(said(2), "\rconvert: 0.01 / 100.00 GB    0%  0.00 GB/s  -- left");
}

TEST_F(ProgressTest, FinishEndsTheLine) {
  {
    Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
    now_ += 40s;
    progress.add(kTotal);
    progress.finish();
  }
  ASSERT_EQ(writes_.size(), 2u);
  EXPECT_EQ(said(1), "\rconvert: 100.00 / 100.00 GB  100%  2.50 GB/s");
  EXPECT_TRUE(writes_[1].ends_with("\x1b[K\n"));
}

TEST_F(ProgressTest, AnErrorMessageStartsOnALineOfItsOwn) {
  {
    Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true));
    now_ += 1s;
    progress.add(1);
  }
  ASSERT_EQ(writes_.size(), 2u);
  EXPECT_EQ(writes_[1], "\n");
}

TEST_F(ProgressTest, ANarrowTerminalCutsTheLine) {
  Progress progress(ProgressMode::kAuto, false, "convert", kTotal, output(true, 20));
  now_ += 1s;
  progress.add(1'000'000'000);
  EXPECT_EQ(writes_.at(0), "\rconvert: 1.00 / 100\x1b[K");
}

TEST_F(ProgressTest, NothingToDoIsDone) {
  Progress progress(ProgressMode::kAlways, false, "convert", 0, output(false));
  progress.finish();
  EXPECT_EQ(said(0), "convert: 0.00 / 0.00 GB  100%  0.00 GB/s");
}

TEST_F(ProgressTest, ThreadsAdd) {
  std::atomic<int64_t> tick = 0;
  Progress::Output out = output(true);
  out.now = [&] { return Progress::Time(std::chrono::milliseconds(++tick)); };
  Progress progress(ProgressMode::kAuto, false, "convert", 40'000'000'000, std::move(out));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) progress.add(10'000'000);
      });
    }
  }
  progress.finish();
  EXPECT_NE(writes_.back().find("40.00 / 40.00 GB  100%"), std::string::npos);
}

TEST(ProgressMemory, TheFiguresFollowAllocation) {
  constexpr size_t kBlock = 64 << 20;
  const int64_t before = resident_bytes();
  EXPECT_GT(before, 1 << 20);
  // Straight from the kernel: a sanitizer's allocator keeps what is freed.
  void* const block =
      mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::fill_n(static_cast<char*>(block), kBlock, '\1');
  EXPECT_GT(resident_bytes(), before + (48 << 20));
  ASSERT_EQ(munmap(block, kBlock), 0);
  EXPECT_LT(resident_bytes(), before + (48 << 20));
  EXPECT_GT(peak_rss_bytes(), before + (48 << 20));
  EXPECT_LT(peak_rss_bytes(), int64_t{1} << 40);
}

// Each in a process of its own: the flag has no way back.
int exit_status_after(int signal) {
  install_interrupt_handlers();
  throw_if_interrupted();
  ::raise(signal);
  try {
    throw_if_interrupted();
  } catch (const Interrupted& e) {
    return e.exit_status();
  }
  return 0;
}

TEST(InterruptDeathTest, SignalsBecomeExitStatuses) {
  EXPECT_EXIT(std::_Exit(exit_status_after(SIGINT)), ExitedWithCode(130), "");
  EXPECT_EXIT(std::_Exit(exit_status_after(SIGTERM)), ExitedWithCode(143), "");
  EXPECT_EXIT(std::_Exit(exit_status_after(SIGXFSZ)), ExitedWithCode(0), "");
}

TEST(InterruptDeathTest, TheSecondSignalKills) {
  EXPECT_EXIT(
      {
        install_interrupt_handlers();
        ::raise(SIGINT);
        ::raise(SIGINT);
      },
      KilledBySignal(SIGINT), "");
}

TEST(InterruptDeathTest, AnIgnoredSignalStaysIgnored) {
  EXPECT_EXIT(
      {
        ::signal(SIGINT, SIG_IGN);
        std::_Exit(exit_status_after(SIGINT));
      },
      ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bridge
