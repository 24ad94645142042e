// How the processes of one launch find each other and end together: by files beside the output,
// which all of them see, and nothing else. The launcher (Slurm, MPI, torchrun) starts them.
//
//   1. Each rank holds a lease BASE.rank.I (lease.h). Its note says the launch, and whether the
//      rank waits for rank 0, works, has done its part or has failed, and why.
//   2. Rank 0 first waits for what an earlier launch left: a rank of it that still lives is an
//      error, the files of others are removed. Then it takes its own lease, prepares the output and
//      writes BASE.launch: the facts of the plan and what each rank does. The file is renamed
//      into place, so it is whole.
//   3. The other ranks wait for a launch file whose rank 0 is alive. A number that rank 0 drew by
//      chance (the nonce) ties the file to the lease. Where the launcher gives its launches names,
//      that of rank 0 must be theirs. Facts that differ end the launch, with the first of them.
//   4. Each rank writes its sections, and looks at rank 0 between two watermarks; rank 0 looks at
//      all. A rank that failed, died or never came ends the launch, and what was written can be
//      resumed, by any number of processes.
//   5. When all have done their part, rank 0 commits and removes the files.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/lease.h"
#include "bridge/io/launch/blocks.h"
#include "bridge/io/launch/facts.h"
#include "bridge/io/launch/rank.h"

namespace bridge {

class Launch {
 public:
  // base: how the names of the files begin; its folder need not exist yet.
  Launch(FileSystem& fs, Path base, const Rank& rank, const LeaseClock& clock = real_lease_clock());
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  const Rank& rank() const { return rank_; }
  bool leads() const { return rank_.leads(); }
  // Whether there are other processes.
  bool is_shared() const { return rank_.count > 1; }
  // A number that all processes of the launch know, and those of no other; empty before join().
  const std::string& nonce() const { return nonce_; }

  // Rank 0, under the lock of the output. Removes what ranks of an earlier launch left, once they
  // are gone. Errors: kIo for one that lives.
  void keep_out_earlier();
  // Rank 0 of several: takes its lease, so that the others see that it is there.
  void begin();
  // Rank 0 of several: lets the others begin. plan: what they must agree on; shares: what each of
  // them does. Both are payloads of blocks (blocks.h) in the words of the caller.
  void open(std::string_view plan, std::string_view shares);

  using Reader = std::function<void(Payload plan, Payload shares)>;
  // The other ranks: waits until rank 0 has opened the launch, and gives `read` what it wrote.
  // Errors: kIo if it does not within the time allowed, rank 0's own if it failed, and those of
  // `read`.
  void join(const Reader& read, MemoryBudget& budget);
  // Error: kUsage if this process and rank 0 do not do the same work.
  void expect_same(const PlanFacts& leaders, const PlanFacts& own) const;

  // Reports what ends the launch: kIo for a rank that has died or did not come, a rank's own error.
  void check();
  // The other ranks: the part is done. The lease stays, for rank 0 to see.
  void finish_part();
  // Rank 0: waits until all others have done their part. Errors: those of check().
  void wait_for_all();
  // Tells the others, if there are any, that this rank has failed. Never throws.
  void fail(Code code, std::string_view message) noexcept;
  // Rank 0 after fail(): waits until no other rank of this launch works any more, so that what they
  // wrote can be removed, and gives those that have not come yet the time to read the reason, until
  // ten seconds after begin().
  // Returns false if one still works after two minutes. Never throws.
  bool wait_until_others_end() noexcept;
  // Rank 0: removes the files of the launch. Never throws.
  void close() noexcept;

 private:
  // What the note of a lease says.
  struct Note {
    std::string nonce;
    std::string state;
    int code = 0;
    std::string launch;
    std::string message;
  };
  struct Other {
    int index;
    LeaseWatch watch;
    bool has_come = false;
  };

  Path rank_path(int index) const;
  std::string rank_name(int index) const;
  std::string note(std::string_view state, int code = 0, std::string_view message = {}) const;
  static std::optional<Note> parse(const std::optional<LeaseHolder>& holder);
  void take_own_lease(std::string_view state);
  void check_leader();
  // Looks at every other rank once; returns whether all have done their part.
  bool check_others();
  // Returns false while the launch file is missing or belongs to another launch.
  bool read_launch_file(const Reader& read, MemoryBudget& budget);
  [[noreturn]] void rethrow(int index, const Note& note) const;

  FileSystem& fs_;
  const Path base_;
  const Rank rank_;
  const LeaseClock& clock_;
  const std::string launch_;  // a hash of the launcher's name for it; "-": there is none
  std::string nonce_;
  std::unique_ptr<Lease> lease_;
  LeaseWatch leader_;
  std::vector<Other> others_;
  std::chrono::steady_clock::time_point begun_;
  std::chrono::steady_clock::time_point opened_;
};

}  // namespace bridge
