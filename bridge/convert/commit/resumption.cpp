#include "bridge/convert/commit/resumption.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/heap_cost.h"
#include "bridge/io/base/interrupt.h"
#include "bridge/io/base/standard_output.h"

namespace bridge {
namespace {

std::string shown(const Path& path) {
  return printable(path.native());
}

}  // namespace

Resumption::Resumption(FileSystem& fs, const OutputOptions& options,
                       std::vector<OutputDir*> outputs, PlanFacts facts, size_t transfers,
                       int64_t bytes, MemoryBudget& budget)
    : fs_(fs),
      options_(options),
      outputs_(std::move(outputs)),
      bytes_(bytes),
      budget_(budget),
      facts_memory_(&budget, "names of inputs") {
  header_.transfers = header_.last = static_cast<int64_t>(transfers);
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

std::string Resumption::how_far() const {
  const double share = bytes_ > 0 ? static_cast<double>(durable_) / static_cast<double>(bytes_) : 1;
  return fmt::format("{} of {} ({}%)", size_text(durable_), size_text(bytes_),
                     static_cast<int>(share * 100));
}

Resumption::Found Resumption::find_journal() {
  const Path& path = outputs_.front()->journal_path();
  if (!fs_.lstat(path)) return {{}, "what was left has no journal"};
  Found found;
  try {
    found.journal = read_journal(fs_, path, budget_);
  } catch (const Error& error) {
    if (error.code() != Code::kBadInput) throw;
    return {{}, error.message()};
  }
  const JournalHeader& theirs = found.journal->header;
  std::vector<uint64_t> folders;
  for (OutputDir* output : outputs_) {
    const std::optional<Stat> folder = output->leftover();
    folders.push_back(folder && folder->kind == Kind::kDirectory ? folder->inode : 0);
  }
  if (theirs.folders != folders) return {{}, "the journal is of another folder"};
  if (!found.journal->last) return {{}, "the journal has no watermark"};
  if (auto difference = first_change(theirs.facts, header_.facts)) {
    if (options_.resume) {
      usage_error(
          fmt::format("{}: cannot be resumed: {}", shown(outputs_.front()->target()), *difference),
          "--restart removes what was done and starts over");
    }
    return {{}, *std::move(difference)};
  }
  if (theirs.transfers != header_.transfers || theirs.first != header_.first ||
      theirs.last != header_.last) {
    return {{}, "the journal is of another plan"};
  }
  return found;
}

std::optional<Watermark> Resumption::start_or_go_on() {
  if (!any_leftover()) {
    if (options_.resume) {
      say("nothing to resume, starts from the beginning");
    }
    start_over();
    return std::nullopt;
  }
  if (options_.restart) {
    start_over();
    return std::nullopt;
  }
  Found found = find_journal();
  if (!found.journal) {
    say("starts over: " + found.why_not);
    start_over();
    return std::nullopt;
  }
  Watermark& last = *found.journal->last;
  durable_ = std::max<int64_t>(last.bytes, 1);
  if (!options_.resume) {
    usage_error(fmt::format("{}: an earlier run got to {} and can be resumed",
                            shown(outputs_.front()->target()), how_far()),
                "--resume goes on from there, --restart starts over");
  }
  header_.folders = found.journal->header.folders;
  next_ = last.next;
  decided_ = true;
  has_journal_ = true;
  writer_.emplace(fs_, outputs_.front()->journal_path(), found.journal->end);
  for (OutputDir* output : outputs_) output->go_on();
  say("goes on from " + how_far());
  return std::move(last);
}

// Removes the journal first, so that it never describes a folder that is made later.
void Resumption::start_over() {
  decided_ = true;
  const Path& journal = outputs_.front()->journal_path();
  if (fs_.lstat(journal)) {
    fs_.remove_file(journal);
    outputs_.front()->sync_parent();
  }
  for (OutputDir* output : outputs_) output->start_over();
}

bool Resumption::wants(size_t next) const {
  return static_cast<int64_t>(next) > next_ &&
         (static_cast<int64_t>(next) < header_.last || next_ > header_.first);
}

void Resumption::record(Watermark mark, std::function<void()> sync, bool beside) {
  wait();
  mark.since = std::exchange(next_, mark.next);
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
    for (OutputDir* output : outputs_) {
      output->sync_names();
      header_.folders.push_back(output->leftover().value().inode);
    }
    const Path& path = outputs_.front()->journal_path();
    has_journal_ = true;
    JournalWriter writer(fs_, path, header_);
    writer.append(mark);
    outputs_.front()->sync_parent();
    writer_.emplace(std::move(writer));
  }
  durable_ = std::max<int64_t>(mark.bytes, 1);
}

void Resumption::wait() {
  if (pending_.valid()) pending_.get();
}

Resumption::Wait::~Wait() {
  if (resumption_.pending_.valid()) resumption_.pending_.wait();
}

void Resumption::guard(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    if (durable_ == 0 || error.code() == Code::kBadInput || outputs_.front()->is_in_place()) {
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
    leave();
    if (durable_ > 0) {
      interrupted.set_left(fmt::format("--resume goes on from {}", how_far()));
    }
    throw;
  } catch (...) {
    leave();
    throw;
  }
}

void Resumption::leave() {
  if (!decided_) return;
  if (durable_ > 0) {
    for (OutputDir* output : outputs_) output->keep();
    return;
  }
  finish();
}

void Resumption::finish() {
  writer_.reset();
  if (!has_journal_) return;
  try {
    fs_.remove_file(outputs_.front()->journal_path());
  } catch (...) {  // the next run sees that its folder does not exist any more
  }
}

}  // namespace bridge
