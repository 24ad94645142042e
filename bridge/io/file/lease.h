// A lease says across machines who is at work: a file that only one process can create, and that
// its holder changes every few seconds. It stands beside flock, which some file systems keep within
// one machine (Lustre with localflock) or do not have (NFS without its lock daemon).
//
//   1. The holder creates the file with O_EXCL, which these file systems do atomically. The file
//      names the holder: host, machine (the kernel's boot and the PID namespace, without which a
//      process number means nothing), process, and when that started. A CRC ends the text.
//   2. A thread of the holder raises a counter in the file: every second ten times, so that others
//      who wait for a sign of life need not wait long, then every ten seconds.
//   3. Others judge a lease (LeaseWatch). A holder on the observer's machine is gone at once when
//      it has no process any more. Any other is gone when the file has not changed for 60 s of the
//      observer's own clock: clocks of two machines are never compared.
//   4. A lease of a holder that is gone is taken over in place. Where two may do that at once, the
//      one whose text is still there two seconds later has it. Whoever was only asleep finds
//      another text with its next beat, and check() reports that.
//   5. Nothing is synced: a lease need not outlive its machine. To close the file is enough for
//      others to see it.
//
// Truth: open(2) (O_EXCL on NFS 3 and later), nfs(5) on close-to-open consistency: each beat opens
// and closes the file.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "bridge/io/file/file_system.h"

namespace bridge {

// Tests replace the clock. sleep() throws Interrupted if the user asked the program to end.
struct LeaseClock {
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<void(std::chrono::milliseconds)> sleep;
};
const LeaseClock& real_lease_clock();

constexpr std::chrono::seconds kLeaseIsStale{60};
constexpr std::chrono::milliseconds kLeasePoll{100};
constexpr size_t kLongestLeaseNote = 700;  // a longer one is cut

struct LeaseHolder {
  std::string host;
  std::string machine;
  pid_t process = 0;
  std::string started;  // in the kernel's ticks since boot
  uint64_t beat = 0;
  std::string note;  // what the holder tells others, one line

  bool is_same_process(const LeaseHolder& other) const {
    return machine == other.machine && process == other.process && started == other.started;
  }
};

// The process that calls this.
LeaseHolder lease_holder_here();
// The content of a lease file, and back; nullopt for a text that is torn or something else.
std::string lease_text(const LeaseHolder& holder);
std::optional<LeaseHolder> parse_lease(std::string_view text);

// Judges the lease of somebody else by looking at it again and again. Not thread-safe.
class LeaseWatch {
 public:
  enum class State {
    kAbsent,
    kUnknown,  // nothing has shown yet whether the holder lives
    kAlive,
    kGone,
  };
  LeaseWatch(FileSystem& fs, Path path, const LeaseClock& clock = real_lease_clock())
      : fs_(fs), path_(std::move(path)), clock_(clock) {}

  State look();
  // As the last look() found it; nullopt: there was no lease that could be read.
  const std::optional<LeaseHolder>& holder() const { return holder_; }

 private:
  FileSystem& fs_;
  Path path_;
  const LeaseClock& clock_;
  std::optional<LeaseHolder> holder_;
  std::optional<std::string> text_;
  std::chrono::steady_clock::time_point changed_;  // when the text was first seen
  bool has_beaten_ = false;                        // it changed under our eyes
};

// A lease that this process holds. Thread-safe.
class Lease : public Lock {
 public:
  // holder: as in the file, which exists.
  Lease(FileSystem& fs, Path path, LeaseHolder holder, const LeaseClock& clock);
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() override;  // removes the file, if it is still ours and leave() was not called

  std::string notice() const override;
  void check() const override;

  // Whether somebody else has it, as far as the last beat knows.
  bool is_lost() const { return lost_; }
  // Starts the thread that beats.
  void start();
  // Shows that the holder lives. A failure to write counts only when it lasts.
  void beat();
  // Changes what others read. Errors: kIo.
  void set_note(std::string note);
  // Lets the file stay behind, with its last note, when this object ends.
  void leave() { leaves_ = true; }

 private:
  void run(const std::stop_token& stop);
  void write();
  bool is_ours();

  FileSystem& fs_;
  const Path path_;
  const LeaseClock& clock_;
  std::mutex mutex_;  // guards the file, holder_ and last_
  LeaseHolder holder_;
  std::chrono::steady_clock::time_point last_;  // successful beat
  std::atomic<bool> lost_ = false;
  std::atomic<bool> leaves_ = false;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses the other members
};

// Takes the lease at `path`, once a holder that may be alive has shown that it is not; nullptr if
// it is alive. has_lock: no other process of this machine can be taking it at the same time. The
// result does not beat before start(). Errors: kIo.
std::unique_ptr<Lease> take_lease(FileSystem& fs, const Path& path, bool has_lock,
                                  const std::string& note = {},
                                  const LeaseClock& clock = real_lease_clock());

}  // namespace bridge
