// Decides what a run writes: everything, the rest of what an earlier run left, or, of several
// processes, its part. And what the run leaves itself.
//
//   1. start_or_go_on() runs under the locks. It looks for a partial folder whose journals are of
//      this folder and of the same plan. If there is one, the run goes on with it (--resume) or
//      ends with exit 2 and says how far the earlier run got. Otherwise it removes what is there,
//      says why, and the run starts over. What is left to write is shared out among the processes
//      (sections.h); ranks other than 0 get their part from rank 0 (launch.h).
//   2. The run writes its portions, one after another. record() syncs what was written and appends
//      a watermark to the portion's journal. The first watermark creates the journal, so a run that
//      ends before it leaves nothing.
//   3. gather() gives rank 0 what the journals of all processes say, once all are complete. A
//      process that alone writes everything in one portion knows it without a journal.
//   4. guard() handles failures. After the first watermark, every failure but bad input leaves the
//      partial folder, the lock file and the journals. A changed or damaged input makes the output
//      worthless, so that leaves nothing. Nothing is removed while another process may write it.
//   5. seal() comes before the renames, where there are two of them (a sidecar elsewhere): it notes
//      in the journal that all is written. A run that is killed between the two leaves the rest to
//      the next one, which only renames.
//   6. finish() removes the journals after the commit.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/algebra/transfer.h"
#include "bridge/convert/commit/journal.h"
#include "bridge/convert/commit/journal_set.h"
#include "bridge/convert/commit/output_dir.h"
#include "bridge/convert/commit/portions.h"
#include "bridge/convert/commit/sections.h"
#include "bridge/convert/options.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/base/reservation.h"
#include "bridge/io/launch/launch.h"

namespace bridge {

// What a plan has to write.
struct Work {
  const std::vector<Transfer>& transfers;
  std::vector<int64_t> cuts;  // of cuts_at_files()
  int64_t bytes = 0;          // of the output, for messages
};

class Resumption {
 public:
  // outputs: all of the run, made with Leftover::kUndecided or, by ranks other than 0,
  // kOfRankZero; the journals lie beside the first.
  Resumption(FileSystem& fs, const OutputOptions& options, std::vector<OutputDir*> outputs,
             PlanFacts facts, Work work, MemoryBudget& budget);

  // Whether this process prepares the output, commits it and reports: rank 0.
  bool leads() const { return launch_.leads(); }

  // Returns what this process writes. prepare: run by rank 0 before any process writes; anew: the
  // partial folders are empty. Errors: kUsage; those of Launch::join().
  std::vector<Portion> start_or_go_on(const std::function<void(bool anew)>& prepare);
  // Whether the sink of the first portion makes the files of the output. Otherwise they are there,
  // or prepare(true) has to make them.
  bool first_portion_makes_files() const { return is_new_ && !launch_.is_shared(); }
  // Whether an earlier run was killed between two renames: there is nothing to write, and commit()
  // does the rest.
  bool only_commits() const { return only_commits_; }
  // Whether this process writes everything in one portion, so that it knows all without gather().
  bool is_alone() const { return is_alone_; }

  // Where the witnesses of a journal that does not begin with transfer 0 lie: beside it, and as
  // long.
  Path witness_path(int64_t journal) const { return journals_.witness_path(journal); }

  // Call it before the first record() of a portion.
  void begin(const Portion& portion);
  // Whether to record a watermark at this transfer. A run that is alone and has recorded none needs
  // none at its end.
  bool wants(size_t next) const;
  // Whether a watermark there must be recorded, however many parts are open.
  bool needs(size_t next) const;
  // Fills in mark.since and mark.bytes. sync makes everything below mark.next durable. If `beside`,
  // a thread calls sync while the work goes on, and everything that sync refers to must live until
  // wait(). The next record() or wait() throws its error. Errors: those of Launch::check().
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

  // Rank 0: waits for all processes; returns the journals, which together cover every transfer, in
  // order. Errors: those of Launch::check().
  std::vector<Journal> gather();
  // The other ranks: their part is done.
  void finish_part() { launch_.finish_part(); }

  // Makes everything durable before two renames; does nothing where there is one.
  void seal();
  // Brings the outputs under their names, the sidecar last.
  void commit();

  // Runs start_or_go_on() and the rest of the run up to the commit.
  void guard(const std::function<void()>& run);
  void finish();

 private:
  void say(std::string_view text) const;
  bool any_leftover() const;
  JournalSet::Found find_journals();
  std::string how_far() const;
  std::vector<Journal> decide();
  void go_on(const std::vector<Journal>& journals);
  void start_over();
  std::vector<Portion> join();
  void write(const Watermark& mark);
  void fail(Code code, std::string_view message);
  void leave();  // leaves everything to a later run, or nothing
  int64_t bytes_of_range(const TransferRange& range) const;

  FileSystem& fs_;
  const OutputOptions& options_;
  const std::vector<OutputDir*> outputs_;
  const Work work_;
  JournalHeader header_;
  MemoryBudget& budget_;
  JournalSet journals_;
  Reservation facts_memory_;
  Launch launch_;
  std::vector<bool> is_renamed_;  // by output: an earlier run did that
  bool only_commits_ = false;
  bool is_new_ = false;
  bool is_alone_ = false;
  bool decided_ = false;           // what an earlier run left is removed, or is this run's
  bool has_journal_ = false;       // or part of one
  bool others_may_write_ = false;  // after a failure
  bool is_sealed_ = false;

  // Of the portion that is being written:
  std::optional<JournalWriter> writer_;
  int64_t last_ = 0;
  int64_t next_ = 0;                  // of the last watermark that was begun
  bool has_mark_ = false;             // in its journal, or on the way there
  int64_t elsewhere_ = 0;             // bytes in other journals
  std::atomic<int64_t> durable_ = 0;  // bytes below the watermarks of all; 0: there is none
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
