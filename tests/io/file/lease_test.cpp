// Tests the lock that counts across machines: who holds it, and when it is stale. The clock is the
// test's; another machine is a name in the file.
#include "bridge/io/file/lease.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "tests/io/file/fault_file_system.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

using State = LeaseWatch::State;
using std::chrono::milliseconds;
using std::chrono::seconds;

class LeaseTest : public testing::Test {
 protected:
  std::unique_ptr<Lease> take(bool has_lock = true) {
    return take_lease(real_file_system(), lease_, has_lock, "note of mine", clock_);
  }
  // Returns the number of a process that has ended.
  static pid_t gone() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
  }
  static LeaseHolder elsewhere() {
    LeaseHolder holder = lease_holder_here();
    holder.host = "elsewhere";
    holder.machine = "boot-of-another/pid:[1]";
    return holder;
  }
  static LeaseHolder here_but_gone() {
    LeaseHolder holder = lease_holder_here();
    holder.process = gone();
    return holder;
  }
  void held_by(const LeaseHolder& holder) { put_file(lease_, lease_text(holder)); }

  TempDir dir_;
  const Path lease_ = dir_ / "lock.lease";
  std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::time_point(seconds(1000));
  std::function<void()> while_asleep_;  // what others do meanwhile
  const LeaseClock clock_ = {[this] { return now_; },
                             [this](milliseconds time) {
                               now_ += time;
                               if (while_asleep_) while_asleep_();
                             }};
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

TEST_F(LeaseTest, TheTextSaysWhoHoldsIt) {
  const auto lease = take();
  std::optional<LeaseHolder> said = parse_lease(file_content(lease_));
  ASSERT_TRUE(said);
  EXPECT_TRUE(said->is_same_process(lease_holder_here()));
  EXPECT_EQ(said->process, ::getpid());
  EXPECT_EQ(said->note, "note of mine");
  lease->set_note("another");
  EXPECT_EQ(parse_lease(file_content(lease_))->note, "another");
  lease->set_note(std::string(5000, 'x'));
  EXPECT_EQ(parse_lease(file_content(lease_))->note, std::string(kLongestLeaseNote, 'x'));
}

TEST_F(LeaseTest, ATextThatIsDamagedIsNone) {
  const std::string text = lease_text(elsewhere());
  ASSERT_TRUE(parse_lease(text));
  for (const size_t at : {size_t{0}, size_t{20}, text.size() - 5}) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_FALSE(parse_lease(damaged)) << at;
  }
  EXPECT_FALSE(parse_lease(text.substr(1)));
  EXPECT_FALSE(parse_lease(""));
}

TEST_F(LeaseTest, OfAProcessThatIsGoneAtOnce) {
  held_by(here_but_gone());
  const auto before = now_;
  EXPECT_NE(take(), nullptr);
  EXPECT_EQ(now_, before) << "it waited";
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

// It has ended, and its parent has not asked for its status yet.
TEST_F(LeaseTest, OfAZombie) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  LeaseHolder holder = lease_holder_here();
  holder.process = child;
  siginfo_t ended;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  std::string line = file_content("/proc/" + std::to_string(child) + "/stat");
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  for (int i = 3; i <= 22; ++i) fields >> holder.started;
  held_by(holder);
  EXPECT_NE(take(), nullptr);
  ::waitpid(child, nullptr, 0);
}

TEST_F(LeaseTest, OfANumberThatAnotherProcessHasNow) {
  LeaseHolder holder = lease_holder_here();
  holder.started = "1";
  held_by(holder);
  EXPECT_NE(take(), nullptr);
}

TEST_F(LeaseTest, OfAnotherMachineIsStaleWhenUnchangedForAMinuteOfOurClock) {
  held_by(elsewhere());
  const auto before = now_;
  EXPECT_NE(take(), nullptr);
  EXPECT_GE(now_ - before, seconds(60));
  EXPECT_LT(now_ - before, seconds(70));
}

// Its process number means nothing here, even if no process has it.
TEST_F(LeaseTest, OfAnotherMachineThatBeatsIsAlive) {
  LeaseHolder holder = elsewhere();
  holder.process = gone();
  held_by(holder);
  const auto before = now_;
  while_asleep_ = [&] {
    if (now_ - before < seconds(9)) return;
    ++holder.beat;
    held_by(holder);
  };
  EXPECT_EQ(take(), nullptr);
  EXPECT_LT(now_ - before, seconds(11));
  EXPECT_EQ(parse_lease(file_content(lease_))->host, "elsewhere");
}

TEST_F(LeaseTest, ThatIsGivenBackWhileWeWaitIsOurs) {
  held_by(elsewhere());
  while_asleep_ = [&] { std::filesystem::remove(lease_); };
  const auto lease = take();
  ASSERT_NE(lease, nullptr);
  EXPECT_EQ(parse_lease(file_content(lease_))->process, ::getpid());
}

// The second opening of the file, which is to take it over, finds it gone.
TEST_F(LeaseTest, ThatIsGivenBackWhileWeTakeItOverIsOurs) {
  class GivenBack : public FaultFileSystem {
   public:
    using FaultFileSystem::FaultFileSystem;
    std::unique_ptr<File> open_write(const Path& path) override {
      if (++opened_ == 2) std::filesystem::remove(path);
      return FaultFileSystem::open_write(path);
    }

   private:
    int opened_ = 0;
  };
  held_by(here_but_gone());
  GivenBack fs(real_file_system());
  const auto lease = take_lease(fs, lease_, true, "note of mine", clock_);
  ASSERT_NE(lease, nullptr);
  EXPECT_EQ(parse_lease(file_content(lease_))->process, ::getpid());
}

// A process was killed between creating the file and writing it.
TEST_F(LeaseTest, WithoutATextIsTakenOverSoon) {
  put_file(lease_, "");
  const auto before = now_;
  EXPECT_NE(take(), nullptr);
  EXPECT_LT(now_ - before, seconds(10));
}

// Two find it stale at once: the one that writes last has it.
TEST_F(LeaseTest, OnlyOneProcessTakesOver) {
  held_by(here_but_gone());
  while_asleep_ = [&] { held_by(elsewhere()); };
  EXPECT_EQ(take(false), nullptr);
  EXPECT_EQ(parse_lease(file_content(lease_))->host, "elsewhere");
}

TEST_F(LeaseTest, AHolderThatSleptTooLongIsTold) {
  const auto lease = take();
  EXPECT_NO_THROW(lease->check());
  lease->beat();
  EXPECT_EQ(parse_lease(file_content(lease_))->beat, 1U);
  held_by(elsewhere());
  lease->beat();
  EXPECT_TRUE(lease->is_lost());
  try {
    lease->check();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kIo);
    EXPECT_NE(e.message().find("another process has taken over"), std::string::npos);
  }
}

TEST_F(LeaseTest, TheLeaseOfTheNextHolderStays) {
  auto lease = take();
  held_by(elsewhere());
  lease.reset();
  EXPECT_TRUE(std::filesystem::exists(lease_));
}

TEST_F(LeaseTest, StaysBehindIfItShould) {
  auto lease = take();
  lease->leave();
  lease.reset();
  EXPECT_TRUE(std::filesystem::exists(lease_));
}

TEST_F(LeaseTest, AThreadBeats) {
  const auto lease = take_lease(real_file_system(), lease_, true);
  lease->start();
  for (int i = 0; i < 100 && parse_lease(file_content(lease_)).value_or(LeaseHolder()).beat == 0;
       ++i) {
    std::this_thread::sleep_for(milliseconds(100));
  }
  const auto said = parse_lease(file_content(lease_));
  EXPECT_TRUE(!said || said->beat > 0);  // torn: it is being written this moment
}

TEST_F(LeaseTest, AWatchTellsWhatItSaw) {
  LeaseWatch watch(real_file_system(), lease_, clock_);
  EXPECT_EQ(watch.look(), State::kAbsent);
  LeaseHolder holder = elsewhere();
  held_by(holder);
  EXPECT_EQ(watch.look(), State::kUnknown);
  now_ += seconds(59);
  EXPECT_EQ(watch.look(), State::kUnknown);
  ++holder.beat;
  held_by(holder);
  EXPECT_EQ(watch.look(), State::kAlive);
  now_ += seconds(59);
  EXPECT_EQ(watch.look(), State::kAlive);
  now_ += seconds(1);
  EXPECT_EQ(watch.look(), State::kGone);
  held_by(lease_holder_here());
  EXPECT_EQ(watch.look(), State::kAlive);
  held_by(here_but_gone());
  EXPECT_EQ(watch.look(), State::kGone);
  std::filesystem::remove(lease_);
  EXPECT_EQ(watch.look(), State::kAbsent);
}

// The lock of an output holds a lease beside flock, which other machines may not see.
TEST_F(LeaseTest, ALockIsKeptOutByALeaseToo) {
  auto lock = real_file_system().try_lock(dir_ / "lock");
  ASSERT_NE(lock, nullptr);
  EXPECT_TRUE(std::filesystem::exists(lease_));
  lock.reset();
  EXPECT_FALSE(std::filesystem::exists(lease_));
  held_by(lease_holder_here());  // as a holder that flock does not keep out
  EXPECT_EQ(real_file_system().try_lock(dir_ / "lock"), nullptr);
  held_by(here_but_gone());
  EXPECT_NE(real_file_system().try_lock(dir_ / "lock"), nullptr);
}

}  // namespace
}  // namespace bridge
