// How ranks find each other and end together. Threads stand for processes: they are alive as long
// as this process is. A rank of another machine is a lease that the test writes; the clock is the
// test's, where nobody else waits.
#include "bridge/io/launch/launch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <string>
#include <vector>

#include "bridge/convert/commit/launch_sections.h"
#include "tests/convert/fixtures.h"

namespace bridge {
namespace {

namespace stdfs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

const PlanFacts kFacts = {{"version", "1"}, {"model.safetensors", "12 bytes"}};
const std::vector<std::vector<Section>> kSections = {{{0, 4, 0}}, {{4, 6, 4}, {8, 9, 7}}, {}};

Rank rank(int index, int count = 3, std::string launch = "") {
  Rank made;
  made.index = index;
  made.count = count;
  made.launch = std::move(launch);
  return made;
}

JournalHeader header() {
  JournalHeader made;
  made.folders = {77};
  made.transfers = 9;
  made.facts = kFacts;
  return made;
}

class LaunchTest : public testing::Test {
 protected:
  Path rank_path(int index) const { return dir_ / (".out.causeway.rank." + std::to_string(index)); }
  std::vector<std::string> names() const { return real_file_system().list(dir_.path()); }
  std::optional<LeaseHolder> lease(int index) const {
    return stdfs::exists(rank_path(index)) ? parse_lease(file_content(rank_path(index)))
                                           : std::nullopt;
  }
  static pid_t gone() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
  }
  // A lease of a rank, as another process left or holds it.
  void put_lease(int index, const std::string& note, bool is_gone) const {
    LeaseHolder holder = lease_holder_here();
    if (is_gone) holder.process = gone();
    holder.note = note;
    put_file(rank_path(index), lease_text(holder));
  }
  // Rank 0, which has opened the launch.
  std::unique_ptr<Launch> opened(const Rank& leader) {
    auto launch = std::make_unique<Launch>(fs_, base_, leader, clock_);
    launch->keep_out_earlier();
    launch->begin();
    std::vector<std::vector<Section>> sections = kSections;
    sections.resize(static_cast<size_t>(leader.count));
    open_launch(*launch, header(), sections);
    return launch;
  }
  // Another rank, with the clock of the system.
  LaunchPart join(const Rank& other, const PlanFacts& facts = kFacts,
                  const std::function<void(Launch&)>& then = {}) {
    MemoryBudget budget(1 << 20);
    Launch launch(fs_, base_, other);
    try {
      LaunchPart part = join_launch(launch, facts, budget);
      if (then) then(launch);
      return part;
    } catch (const Error& error) {
      launch.fail(error.code(), error.message());
      throw;
    }
  }

  TempDir dir_;
  FileSystem& fs_ = real_file_system();
  const Path base_ = dir_ / ".out.causeway";
  std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::time_point(seconds(1000));
  const LeaseClock clock_ = {[this] { return now_; }, [this](milliseconds time) { now_ += time; }};
};

TEST_F(LaunchTest, EachRankGetsItsSections) {
  auto leader = opened(rank(0));
  for (const int index : {1, 2}) {
    const LaunchPart part = join(rank(index), kFacts, [](Launch& launch) { launch.finish_part(); });
    EXPECT_EQ(part.folders, std::vector<uint64_t>{77});
    const std::vector<Section>& expected = kSections[static_cast<size_t>(index)];
    ASSERT_EQ(part.sections.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(part.sections[i].first, expected[i].first);
      EXPECT_EQ(part.sections[i].last, expected[i].last);
      EXPECT_EQ(part.sections[i].journal, expected[i].journal);
    }
  }
  leader->check();
  leader->wait_for_all();
  leader->close();
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(LaunchTest, TheOthersWaitForRankZero) {
  auto first = std::async(std::launch::async, [&] { return join(rank(1)); });
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(first.wait_for(seconds(0)), std::future_status::timeout);
  auto leader = opened(rank(0));  // a rank that waits is not one of an earlier launch
  EXPECT_EQ(first.get().sections.size(), 2U);
}

TEST_F(LaunchTest, RankZeroThatNeverComesIsNamed) {
  Rank other = rank(2);
  other.timeout = seconds(1);
  const Error e =
      expect_error(Code::kIo, "rank 2 of 3: rank 0 did not begin within 1 s", [&] { join(other); });
  EXPECT_NE(e.hint().find("--rank-timeout"), std::string::npos);
  EXPECT_EQ(names(), std::vector<std::string>{}) << "it leaves nothing";
}

TEST_F(LaunchTest, RanksThatNeverComeAreNamed) {
  auto leader = opened(rank(0, 4));
  put_lease(1, "another-launch done 0 -", true);
  expect_error(Code::kIo, "ranks 1, 2, 3 of 4 did not come within 600 s",
               [&] { leader->wait_for_all(); });
  EXPECT_GE(now_, std::chrono::steady_clock::time_point(seconds(1600)));
}

TEST_F(LaunchTest, AnotherPlanIsNamedOnBothSides) {
  auto leader = opened(rank(0, 2));
  const PlanFacts other = {{"version", "2"}, kFacts[1]};
  const std::string message = "rank 1 of 2 makes another plan than rank 0: version: was 1, is 2";
  EXPECT_EQ(expect_error(Code::kUsage, message, [&] { join(rank(1, 2), other); }).hint(),
            "all processes need the same options and must see the same files");
  expect_error(Code::kUsage, message, [&] { leader->check(); });
}

TEST_F(LaunchTest, AnotherNumberOfRanksIsAnError) {
  auto leader = opened(rank(0, 3));
  expect_error(Code::kUsage, "rank 1 of 4: rank 0 says that they are 3", [&] { join(rank(1, 4)); });
}

TEST_F(LaunchTest, TwoWithOneRankAreAnError) {
  auto leader = opened(rank(0));
  join(rank(1), kFacts, [&](Launch&) {
    expect_error(Code::kIo, "there is another rank 1 of 3", [&] { join(rank(1)); });
  });
}

TEST_F(LaunchTest, AFailureOfRankZeroEndsTheOthers) {
  auto leader = opened(rank(0));
  join(rank(1), kFacts, [&](Launch& launch) {
    launch.check();
    leader->fail(Code::kBadInput, "model.safetensors: damaged");
    expect_error(Code::kBadInput, "rank 0 of 3: model.safetensors: damaged",
                 [&] { launch.check(); });
    launch.finish_part();
  });
}

TEST_F(LaunchTest, AFailureBeforeTheStartIsToldToThoseThatWait) {
  auto other = std::async(std::launch::async, [&] { return join(rank(1, 2)); });
  while (!lease(1)) std::this_thread::sleep_for(milliseconds(10));
  Launch leader(fs_, base_, rank(0, 2));
  leader.keep_out_earlier();
  leader.begin();
  leader.fail(Code::kUsage, "out: can be resumed");
  expect_error(Code::kUsage, "rank 0 of 2: out: can be resumed", [&] { other.get(); });
}

TEST_F(LaunchTest, ARankThatDiedIsNamedAtOnce) {
  auto leader = opened(rank(0, 2));
  put_lease(1, leader->nonce() + " working 0 -", true);
  expect_error(Code::kIo, "rank 1 of 2 has died (process ", [&] { leader->wait_for_all(); });
  EXPECT_EQ(now_, std::chrono::steady_clock::time_point(seconds(1000))) << "it waited";
}

TEST_F(LaunchTest, ARankOnAnotherMachineHasDiedWhenItIsSilentForAMinute) {
  auto leader = opened(rank(0, 2));
  LeaseHolder holder = lease_holder_here();
  holder.machine = "another";
  holder.note = leader->nonce() + " working 0 -";
  put_file(rank_path(1), lease_text(holder));
  expect_error(Code::kIo, "rank 1 of 2 has died", [&] { leader->wait_for_all(); });
  EXPECT_GE(now_, std::chrono::steady_clock::time_point(seconds(1060)));
  EXPECT_LT(now_, std::chrono::steady_clock::time_point(seconds(1070)));
}

TEST_F(LaunchTest, ARankThatDiedWhileItWaitedIsNamed) {
  auto leader = opened(rank(0, 2));
  put_lease(1, "- waiting 0 -", true);
  expect_error(Code::kIo, "rank 1 of 2 has died", [&] { leader->wait_for_all(); });
}

TEST_F(LaunchTest, ARankThatEndedItsPartMayBeGone) {
  auto leader = opened(rank(0, 2));
  put_lease(1, leader->nonce() + " done 0 -", true);
  leader->wait_for_all();
}

TEST_F(LaunchTest, TheDeathOfRankZeroEndsTheOthers) {
  auto leader = opened(rank(0));
  join(rank(1), kFacts, [&](Launch& launch) {
    LeaseHolder holder = lease(0).value();
    holder.process = gone();
    put_file(rank_path(0), lease_text(holder));
    expect_error(Code::kIo, "rank 1 of 3: rank 0 has died", [&] { launch.check(); });
  });
}

// It wrote the launch file, and nobody has read that yet.
TEST_F(LaunchTest, RankZeroThatDiesBeforeTheOthersJoinEndsThem) {
  auto next = std::async(std::launch::async, [&] { return join(rank(1, 2)); });
  std::this_thread::sleep_for(milliseconds(200));
  put_lease(0, "fresh working 0 -", true);
  expect_error(Code::kIo, "rank 1 of 2: rank 0 has died", [&] { next.get(); });
}

// --- what an earlier launch left -----------------------------------------------------------------

TEST_F(LaunchTest, FilesOfRanksThatAreGoneAreRemoved) {
  put_lease(0, "nonce working 0 -", true);
  put_lease(1, "nonce failed 4 - no space", false);
  put_lease(5, "nonce done 0 -", false);
  put_file(dir_ / ".out.causeway.launch", "of a dead launch");
  put_file(dir_ / ".other.causeway.rank.1", "of another output");
  Launch(fs_, base_, rank(0, 1), clock_).keep_out_earlier();
  EXPECT_EQ(names(), std::vector<std::string>{".other.causeway.rank.1"});
}

TEST_F(LaunchTest, ARankOfAnEarlierLaunchThatStillWritesIsAnError) {
  put_lease(2, "nonce working 0 -", false);
  expect_error(Code::kIo, "rank 2 of an earlier launch still writes (process ",
               [&] { Launch(fs_, base_, rank(0), clock_).keep_out_earlier(); });
  EXPECT_EQ(names(), std::vector<std::string>{".out.causeway.rank.2"});
}

// What a launch that was killed left looks whole: only its rank 0 is not alive.
TEST_F(LaunchTest, TheFileOfADeadLaunchIsNotJoined) {
  {
    auto dead = opened(rank(0, 2));
    dead->fail(Code::kIo, "");  // so that its lease stays
  }
  LeaseHolder holder = lease(0).value();
  holder.process = gone();
  holder.note.replace(holder.note.find("failed 4"), 8, "working 0");
  put_file(rank_path(0), lease_text(holder));
  Rank other = rank(1, 2);
  other.timeout = seconds(1);
  expect_error(Code::kIo, "rank 0 did not begin", [&] { join(other); });
  auto next = std::async(std::launch::async, [&] { return join(rank(1, 2)); });
  std::this_thread::sleep_for(milliseconds(200));
  auto leader = opened(rank(0, 2));
  EXPECT_EQ(next.get().sections.size(), 2U);
}

// Launchers in containers give the same name again and again.
TEST_F(LaunchTest, AFailureOfAnEarlierLaunchOfTheSameNameIsNotOurs) {
  {
    auto dead = opened(rank(0, 2, "job"));
    dead->fail(Code::kIo, "no space");
  }
  LeaseHolder holder = lease(0).value();
  holder.process = gone();
  put_file(rank_path(0), lease_text(holder));
  auto other = std::async(std::launch::async, [&] { return join(rank(1, 2, "job")); });
  while (!lease(1)) std::this_thread::sleep_for(milliseconds(10));
  std::this_thread::sleep_for(milliseconds(200));
  auto leader = opened(rank(0, 2, "job"));
  EXPECT_EQ(other.get().sections.size(), 2U);
}

TEST_F(LaunchTest, RanksOfALaunchOfAnotherNameStayOut) {
  auto leader = opened(rank(0, 2, "job 7 step 0"));
  Rank other = rank(1, 2, "job 6 step 0");
  other.timeout = seconds(1);
  expect_error(Code::kIo, "rank 0 did not begin", [&] { join(other); });
  EXPECT_EQ(join(rank(1, 2, "job 7 step 0")).sections.size(), 2U);
}

TEST_F(LaunchTest, OneProcessNeedsNoFiles) {
  Launch alone(fs_, base_, rank(0, 1), clock_);
  alone.keep_out_earlier();
  alone.check();
  alone.fail(Code::kIo, "x");
  alone.close();
  EXPECT_FALSE(alone.is_shared());
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(LaunchTest, AMadeUpFileIsRefused) {
  auto leader = opened(rank(0, 2));
  put_file(dir_ / ".out.causeway.launch", "CSWYLCH1 and no block");
  expect_error(Code::kBadInput, ".out.causeway.launch", [&] { join(rank(1, 2)); });
}

}  // namespace
}  // namespace bridge
