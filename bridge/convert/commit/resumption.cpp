#include "bridge/convert/commit/resumption.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "bridge/convert/commit/launch_sections.h"
#include "bridge/convert/stream/executor.h"
#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/standard_output.h"

namespace bridge {
namespace {

std::string shown(const Path& path) {
  return printable(path.native());
}

// Whether the journals, in order, cover all transfers.
bool cover(const std::vector<Journal>& journals, int64_t transfers) {
  int64_t end = 0;
  for (const Journal& journal : journals) {
    if (journal.header.first != end) return false;
    end = journal.last->next;
  }
  return end == transfers;
}

}  // namespace

Resumption::Resumption(FileSystem& fs, const OutputOptions& options,
                       std::vector<OutputDir*> outputs, PlanFacts facts, Work work,
                       MemoryBudget& budget)
    : fs_(fs),
      options_(options),
      outputs_(std::move(outputs)),
      work_(std::move(work)),
      budget_(budget),
      journals_(fs, outputs_, budget),
      facts_memory_(&budget, "names of inputs"),
      launch_(
          fs,
          outputs_.front()->journal_path().parent_path() / outputs_.front()->journal_path().stem(),
          options.rank) {
  header_.transfers = std::ssize(work_.transfers);
  header_.facts = std::move(facts);
  for (const PlanFact& fact : header_.facts) {
    facts_memory_.grow(static_cast<int64_t>(sizeof(PlanFact)) + heap_cost(fact.name.size()) +
                       heap_cost(fact.value.size()));
  }
}

void Resumption::say(std::string_view text) const {
  if (options_.quiet) return;
  print_message(fmt::format("notice: {}: {}\n", shown(outputs_.front()->target()), text));
}

bool Resumption::any_leftover() const {
  return std::any_of(outputs_.begin(), outputs_.end(),
                     [](OutputDir* output) { return output->leftover().has_value(); });
}

int64_t Resumption::bytes_of_range(const TransferRange& range) const {
  return output_bytes(work_.transfers, static_cast<size_t>(range.first),
                      static_cast<size_t>(range.last));
}

std::string Resumption::how_far() const {
  const double share =
      work_.bytes > 0 ? static_cast<double>(durable_) / static_cast<double>(work_.bytes) : 1;
  return fmt::format("{} of {} ({}%)", size_text(durable_), size_text(work_.bytes),
                     static_cast<int>(share * 100));
}

JournalSet::Found Resumption::find_journals() {
  JournalSet::Found found = journals_.find(header_, work_.bytes, options_.resume);
  is_renamed_ = found.is_renamed;
  return found;
}

std::vector<Portion> Resumption::start_or_go_on(const std::function<void(bool anew)>& prepare) {
  if (!leads()) return join();
  launch_.keep_out_earlier();
  if (launch_.is_shared()) launch_.begin();
  std::vector<Journal> journals = decide();
  if (only_commits_) {
    const auto count = static_cast<size_t>(options_.rank.count);
    if (launch_.is_shared())
      open_launch(launch_, header_, std::vector<std::vector<Section>>(count));
    return {};
  }
  is_new_ = journals.empty();
  prepare(is_new_);

  std::vector<TransferRange> done;
  for (const Journal& journal : journals)
    done.push_back({journal.header.first, journal.last->next});
  const std::vector<std::vector<Section>> shares =
      share_out(header_.transfers, done, work_.cuts, options_.rank.count,
                [&](const TransferRange& range) { return bytes_of_range(range); });
  if (launch_.is_shared()) {
    has_journal_ = true;  // of another process, if not of this one
    for (OutputDir* output : outputs_) output->sync_names();
    header_.folders.clear();
    for (OutputDir* output : outputs_) header_.folders.push_back(output->leftover().value().inode);
    open_launch(launch_, header_, shares);
  }
  const bool at_most_one_journal = journals.size() <= 1;
  std::vector<Portion> portions = portions_of_rank_zero(shares, std::move(journals));
  if (work_.transfers.empty()) portions.push_back({});
  is_alone_ = !launch_.is_shared() && at_most_one_journal && portions.size() == 1 &&
              portions.front().journal == 0 && portions.front().last == header_.transfers;
  return portions;
}

// Returns the journals to go on with; none: the run starts over, with empty partial folders.
std::vector<Journal> Resumption::decide() {
  if (!any_leftover()) {
    if (options_.resume) say("nothing to resume, starts from the beginning");
    start_over();
    return {};
  }
  if (options_.restart) {
    start_over();
    return {};
  }
  JournalSet::Found found = find_journals();
  if (found.journals.empty()) {
    say("starts over: " + found.why_not);
    start_over();
    return {};
  }
  int64_t bytes = 0;
  for (const Journal& journal : found.journals) bytes = checked_add(bytes, journal.last->bytes);
  durable_ = std::max<int64_t>(bytes, 1);
  if (!options_.resume) {
    usage_error(fmt::format("{}: an earlier run got to {} and can be resumed",
                            shown(outputs_.front()->target()), how_far()),
                "--resume goes on from there, --restart starts over");
  }
  go_on(found.journals);
  return std::move(found.journals);
}

void Resumption::go_on(const std::vector<Journal>& journals) {
  header_.folders = journals.front().header.folders;
  decided_ = true;
  has_journal_ = true;
  only_commits_ = std::find(is_renamed_.begin(), is_renamed_.end(), true) != is_renamed_.end();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (!only_commits_ || !is_renamed_[i]) outputs_[i]->go_on();
  }
  say(only_commits_ ? std::string("all is written, only the renames are left")
                    : "goes on from " + how_far());
}

// Removes the journals first, so that they never describe a folder that is made later.
void Resumption::start_over() {
  decided_ = true;
  journals_.remove();
  for (OutputDir* output : outputs_) output->start_over();
}

std::vector<Portion> Resumption::join() {
  LaunchPart part = join_launch(launch_, header_.facts, budget_);
  header_.folders = std::move(part.folders);
  for (size_t i = 0; i < outputs_.size() && !part.sections.empty(); ++i) {
    const std::optional<Stat> folder = outputs_[i]->leftover();
    if (i >= header_.folders.size() || !folder || folder->inode != header_.folders[i]) {
      throw Error(Code::kIo,
                  fmt::format("{}: not the folder that rank 0 sees", shown(outputs_[i]->path())),
                  "do all processes see the same file system?");
    }
  }
  std::vector<Portion> portions;
  for (const Section& section : part.sections) {
    Portion portion{section.first, section.last, section.journal, 0, {}};
    if (section.journal != section.first) {
      const Path path = journals_.path(section.journal);
      Journal journal = read_journal(fs_, path, budget_);
      if (!journal.last || journal.last->next != section.first) {
        throw Error(Code::kIo, fmt::format("{}: not as rank 0 read it", shown(path)));
      }
      portion.before = std::move(journal.last);
      portion.journal_end = journal.end;
    }
    portions.push_back(std::move(portion));
  }
  return portions;
}

void Resumption::begin(const Portion& portion) {
  wait();
  const int64_t before = portion.before ? portion.before->bytes : 0;
  elsewhere_ = std::max<int64_t>(0, durable_ - before);
  last_ = portion.last;
  next_ = portion.first;
  has_mark_ = portion.before.has_value();
  header_.first = portion.journal;
  writer_.reset();
  if (has_mark_) writer_.emplace(fs_, journals_.path(portion.journal), portion.journal_end);
}

bool Resumption::wants(size_t next) const {
  return static_cast<int64_t>(next) > next_ &&
         (static_cast<int64_t>(next) < last_ || has_mark_ || !is_alone_);
}

bool Resumption::needs(size_t next) const {
  return !is_alone_ && static_cast<int64_t>(next) == last_;
}

void Resumption::record(Watermark mark, std::function<void()> sync, bool beside) {
  wait();
  outputs_.front()->check_lock();
  launch_.check();
  mark.since = std::exchange(next_, mark.next);
  mark.bytes = bytes_of_range({header_.first, mark.next});
  has_mark_ = true;
  const auto work = [this, mark = std::move(mark), sync = std::move(sync)] {
    sync();
    write(mark);
  };
  if (beside) {
    pending_ = std::async(std::launch::async, work);
  } else {
    work();
  }
}

void Resumption::write(const Watermark& mark) {
  if (writer_) {
    writer_->append(mark);
  } else {
    for (OutputDir* output : outputs_) output->sync_names();
    if (header_.folders.empty()) {
      for (OutputDir* output : outputs_) {
        header_.folders.push_back(output->leftover().value().inode);
      }
    }
    const Path path = journals_.path(header_.first);
    if (fs_.lstat(path)) fs_.remove_file(path);  // torn: a run was killed while it began
    has_journal_ = true;
    JournalWriter writer(fs_, path, header_);
    writer.append(mark);
    outputs_.front()->sync_parent();
    writer_.emplace(std::move(writer));
  }
  durable_ = std::max<int64_t>(elsewhere_ + mark.bytes, 1);
}

void Resumption::wait() {
  if (pending_.valid()) pending_.get();
}

Resumption::Wait::~Wait() {
  if (resumption_.pending_.valid()) resumption_.pending_.wait();
}

std::vector<Journal> Resumption::gather() {
  // What another client of a network file system wrote may be seen a while later.
  constexpr std::chrono::seconds kMostDelay{70};
  const LeaseClock& clock = real_lease_clock();
  if (launch_.is_shared()) launch_.wait_for_all();
  const auto start = clock.now();
  while (true) {
    JournalSet::Found found = find_journals();
    if (cover(found.journals, header_.transfers)) return std::move(found.journals);
    if (!launch_.is_shared() || clock.now() - start >= kMostDelay) {
      throw Error(Code::kIo, fmt::format("{}: the journals do not cover the whole output",
                                         shown(outputs_.front()->target())));
    }
    for (const Journal& journal : found.journals) budget_.release(journal.memory);
    clock.sleep(std::chrono::seconds(1));
  }
}

void Resumption::seal() {
  if (outputs_.size() < 2) return;
  wait();
  writer_.reset();
  for (OutputDir* output : outputs_) output->sync_names();
  const Path path = journals_.path(0);
  if (fs_.lstat(path)) {
    const Journal journal = read_journal(fs_, path, budget_);
    budget_.release(journal.memory);
    JournalWriter(fs_, path, journal.end).append_done();
  } else {
    header_.first = 0;
    header_.folders.clear();
    for (OutputDir* output : outputs_) header_.folders.push_back(output->leftover().value().inode);
    has_journal_ = true;
    JournalWriter(fs_, path, header_).append_done();
    outputs_.front()->sync_parent();
  }
  is_sealed_ = true;
}

void Resumption::commit() {
  if (only_commits_ && launch_.is_shared()) launch_.wait_for_all();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (only_commits_ && is_renamed_[i]) {
      outputs_[i]->finish_other_commit();
    } else {
      outputs_[i]->commit();
    }
  }
}

// Tells the other ranks. What they wrote counts as well as what this one did, so the journals on
// the disk say how far all got.
void Resumption::fail(Code code, std::string_view message) {
  launch_.fail(code, message);
  if (!launch_.is_shared() || !leads()) return;
  others_may_write_ = !launch_.wait_until_others_end();
  try {
    int64_t bytes = 0;
    for (const Path& path : journals_.paths()) {
      const Journal journal = read_journal(fs_, path, budget_);
      budget_.release(journal.memory);
      has_journal_ = true;
      if (journal.last) bytes = checked_add(bytes, std::max<int64_t>(journal.last->bytes, 1));
    }
    durable_ = bytes;
  } catch (...) {  // one is torn; what this process knows is right too
  }
}

void Resumption::guard(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    fail(error.code(), error.message());
    if (!leads()) throw;
    const bool half_renamed = (is_sealed_ || only_commits_) && !outputs_.back()->is_in_place();
    if (half_renamed && (only_commits_ || outputs_.front()->is_in_place())) {
      durable_ = std::max<int64_t>(work_.bytes, 1);  // --resume renames the other
    } else if (durable_ == 0 || error.code() == Code::kBadInput ||
               outputs_.front()->is_in_place()) {
      durable_ = 0;
      leave();
      throw;
    }
    leave();
    if (error.code() == Code::kUsage) throw;
    const std::string hint = error.hint().empty() ? "" : error.hint() + "; ";
    throw Error(error.code(), error.message(),
                fmt::format("{}--resume goes on from {}", hint, how_far()));
  } catch (Interrupted& interrupted) {
    fail(Code::kIo, "interrupted");
    if (leads()) leave();
    if (durable_ > 0 || launch_.is_shared()) {
      interrupted.set_left(leads() ? fmt::format("--resume goes on from {}", how_far())
                                   : "--resume goes on with what all ranks have written");
    }
    throw;
  } catch (...) {
    fail(Code::kInternal, "");
    if (leads()) leave();
    throw;
  }
}

void Resumption::leave() {
  if (decided_ && (durable_ > 0 || others_may_write_)) {
    for (OutputDir* output : outputs_) output->keep();
  } else if (decided_) {
    finish();
  }
  if (!others_may_write_) launch_.close();
}

void Resumption::finish() {
  writer_.reset();
  launch_.close();
  if (!has_journal_) return;
  try {
    journals_.remove();
  } catch (...) {  // the next run sees that its folder does not exist any more
  }
}

}  // namespace bridge
