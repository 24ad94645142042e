// Decides whether a run goes on with what an earlier run left, and what the run leaves itself.
//
//   1. start_or_go_on() runs under the locks. It looks for a partial folder whose journal is of
//      this folder and of the same plan. If there is one, the run goes on with it (--resume) or
//      ends with exit 2 and says how far the earlier run got. Otherwise it removes what is there,
//      says why, and the run starts over.
//   2. record() syncs what was written and appends a watermark to the journal. The first watermark
//      creates the journal, so a run that ends before it leaves nothing.
//   3. guard() handles failures. After the first watermark, every failure but bad input leaves the
//      partial folder, the lock file and the journal. A changed or damaged input makes the output
//      worthless, so that leaves nothing.
//   4. finish() removes the journal after the commit.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/commit/journal.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/options.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/reservation.h"

namespace bridge {

class Resumption {
 public:
  // outputs: all of the run, made with Leftover::kUndecided; the journal lies beside the first.
  // bytes: size of the plan's output, for messages.
  Resumption(FileSystem& fs, const OutputOptions& options, std::vector<OutputDir*> outputs,
             PlanFacts facts, size_t transfers, int64_t bytes, MemoryBudget& budget);

  // Returns the watermark to go on from; nullopt: the run starts over, with empty partial folders.
  // Errors: kUsage.
  std::optional<Watermark> start_or_go_on();

  // Whether to record a watermark at this transfer. A run without one needs none at its end.
  bool wants(size_t next) const;
  // Fills in mark.since. sync makes everything below mark.next durable. If `beside`, a thread calls
  // sync while the work goes on, and everything that sync refers to must live until wait(). The
  // next record() or wait() throws its error.
  void record(Watermark mark, std::function<void()> sync, bool beside);
  // Waits until the last record is durable.
  void wait();
  // Waits in its destructor. Declare it after everything that sync refers to.
  class Wait {
   public:
    explicit Wait(Resumption& resumption) : resumption_(resumption) {}
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    ~Wait();

   private:
    Resumption& resumption_;
  };

  // Runs start_or_go_on() and the rest of the run up to the commit.
  void guard(const std::function<void()>& run);
  void finish();

 private:
  struct Found {
    std::optional<Journal> journal;  // to go on with; nullopt: see why_not
    std::string why_not;
  };
  void say(std::string_view text) const;
  bool any_leftover() const;
  Found find_journal();
  std::string how_far() const;
  void start_over();
  void write(const Watermark& mark);
  void leave();  // leaves everything to a later run, or nothing

  FileSystem& fs_;
  const OutputOptions& options_;
  const std::vector<OutputDir*> outputs_;
  JournalHeader header_;
  const int64_t bytes_;
  MemoryBudget& budget_;
  Reservation facts_memory_;
  std::optional<JournalWriter> writer_;
  bool decided_ = false;              // what an earlier run left is removed, or is this run's
  bool has_journal_ = false;          // or part of one
  int64_t next_ = 0;                  // of the last watermark that was begun
  std::atomic<int64_t> durable_ = 0;  // bytes below the last in the journal; 0: there is none
  std::future<void> pending_;
};

// Reports kBadInput unless the files in `dir` hold what the earlier run wrote last. Sink must have
// crc_of().
template <typename Sink>
void check_written(Sink& sink, const Watermark& before, const Path& dir) {
  if (sink.crc_of(static_cast<size_t>(before.checked), static_cast<size_t>(before.next)) !=
      before.written_crc) {
    bad_input(printable(dir.native()) + ": not the bytes that the earlier run wrote",
              "run again: it starts over");
  }
}

}  // namespace bridge
